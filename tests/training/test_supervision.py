"""What is learned is counted and shown before the first step; an answer without an end stops it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.errors import InputError, parse_location
from etude.render import end_of_turn, render_training
from etude.training.rows.batches import TokenRow
from etude.training.rows.supervision import choose_rows_to_show, count_supervision, split_spans
from etude.types import Message
from tiny import build_tokenizer

TOKENIZER = build_tokenizer()
END = end_of_turn(TOKENIZER)
texts = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1, max_size=20)


def token_row(name: str, turns: list[tuple[str, str]]) -> TokenRow:
    chat = [message for q, a in turns for message in (Message("user", q), Message("assistant", a))]
    ((ids, trained),) = render_training(TOKENIZER, chat)
    return TokenRow(name, tuple(ids), tuple(trained))


@given(
    chats=st.lists(
        st.lists(st.tuples(texts, texts), min_size=1, max_size=3), min_size=1, max_size=6
    )
)
@settings(max_examples=40, deadline=None)
def test_every_token_is_counted_once_and_every_answer_is_seen(
    chats: list[list[tuple[str, str]]],
) -> None:
    rows = [token_row(str(number), turns) for number, turns in enumerate(chats)]
    supervision = count_supervision(rows, END)
    assert supervision.num_trained + supervision.num_read == sum(len(row.ids) for row in rows)
    assert supervision.num_trained == sum(sum(row.trained) for row in rows)
    assert supervision.num_answers == sum(map(len, chats))
    assert supervision.longest_rows[0][1] == max(len(row.ids) for row in rows)


@given(turns=st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_the_view_of_a_row_shows_all_of_it_and_marks_the_answers(
    turns: list[tuple[str, str]],
) -> None:
    row = token_row("r", turns)
    spans = split_spans(TOKENIZER, row)
    assert "".join(text for text, _ in spans) == TOKENIZER.decode(
        row.ids, clean_up_tokenization_spaces=False
    )
    assert [text for text, learned in spans if learned] == [
        f"{answer}<|im_end|>" for _, answer in turns
    ]


def test_rows_whose_end_of_turn_is_not_learned_are_all_named() -> None:
    good = token_row("good", [("q", "a")])
    bad = token_row("bad", [("q", "a"), ("q", "b")])
    ends = [number for number, token in enumerate(bad.ids) if token == END and bad.trained[number]]
    dumb = replace(
        bad, trained=tuple(on and number not in ends for number, on in enumerate(bad.trained))
    )
    with pytest.raises(InputError) as caught:
        count_supervision([good, dumb], END, dev_rows=[good, replace(dumb, id="rows.jsonl:7")])
    assert [fault.location for fault in caught.value.issues] == [
        "bad",
        "bad",
        "rows.jsonl:7",
        "rows.jsonl:7",
    ]
    assert parse_location(caught.value.issues[-1].location) == ("rows.jsonl", 7)
    assert "would not learn when to stop" in str(caught.value)


def test_beginnings_of_the_text_are_counted() -> None:
    row = token_row("r", [("q", "a")])
    twice = replace(row, ids=(0, 0, *row.ids), trained=(False, False, *row.trained))
    assert count_supervision([row, twice, twice], END, start=0).start_tokens == ((0, 1), (2, 2))
    lines = count_supervision([row, twice, twice], END, start=0).to_sentences()
    assert any("2 in each of 2 rows" in line for line in lines)


@given(
    chats=st.lists(
        st.lists(st.tuples(texts, texts), min_size=1, max_size=3), min_size=1, max_size=8
    ),
    number=st.integers(1, 9),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_rows_that_are_shown_differ_and_say_in_what(
    chats: list[list[tuple[str, str]]], number: int, data: st.DataObject
) -> None:
    """Where there is room, one of every kind that there is among them."""
    rows = [token_row(str(index), turns) for index, turns in enumerate(chats)]
    silent = data.draw(st.sets(st.sampled_from([row.id for row in rows])))
    chosen_rows = choose_rows_to_show(rows, number, silent)
    assert len({row.id for row, _ in chosen_rows}) == len(chosen_rows) == min(number, len(rows))
    lengths = [len(row.ids) for row, _ in chosen_rows]
    assert lengths == sorted(lengths)
    for row, note in chosen_rows:
        assert f"{len(row.ids):,} tokens" in note
        assert ("weight 0" in note) == (row.id in silent)
        assert ("answers" in note) == (len(chats[int(row.id)]) > 1)
    kinds = [bool(silent), any(len(turns) > 1 for turns in chats), True, len(rows) > 1]
    notes = " ".join(note for _, note in chosen_rows)
    for index, word in enumerate(("weight 0", "answers", "longest", "shortest")):
        assert not kinds[index] or sum(kinds[: index + 1]) > number or word in notes
