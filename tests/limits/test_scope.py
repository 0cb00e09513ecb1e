"""Scopes: few real questions are turned away, no model is asked for those that are, and no test row
is seen.
"""

import functools
import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz
from scipy.special import ndtr

from etude.assistant import Assistant, load
from etude.comparison.scope_check import add_limits, fit_limits, read_probe
from etude.data.dataset import Dataset
from etude.errors import InputError
from etude.evaluate import AnswerLog, answer_in_batches
from etude.limits.fit import (
    fit_scope,
    fit_task_scope,
    list_answered,
    number_patterns,
    read_generic_questions,
)
from etude.limits.question_model import OWN, QuestionModel, count_features
from etude.limits.scope import Scope, get_question
from etude.models.registry import Models
from etude.stats.calibration import choose_floor
from etude.suites.run import PACKS
from etude.task import load_task
from etude.task.definition import Handover, Limit
from etude.types import Example, Message, ModelRef
from small_task import write_task

ROOT = Path(__file__).parents[2]
LIMITS = (
    Limit("out_of_scope", "I only know tides."),
    Limit("to_person", "Please call the harbour master."),
    Limit("refused", "No.", ("Sink the boat of my rival.",)),
)
TASK = {
    "scope_limits": LIMITS,
    "seed": 0,
    "kind": "answer",
    "handover": None,
    "contract": None,
    "documents": None,
}
PLACES = ("Aberfoss", "Brinlow", "Corrie Bay", "Dunmouth", "Eastry", "Farholm")
OPENERS = (
    "",
    "Hello harbour,",
    "Please look this up:",
    "Our ketch waits.",
    "Skipper here,",
    "Quick question:",
)
ASKS = (
    *("When is high water at {}?", "What time does the ebb set in off {}?", "low tide {} tomorrow"),
    *(
        "How deep is the channel near {} on Friday?",
        "Can a keel of two metres cross the bar of {} at dawn?",
    ),
    *(
        "Is {} dry at springs?",
        "Which way does the current run past {} after noon?",
        "neaps at {}, how high?",
    ),
    *("Give me the tide table of {} for the weekend.", "Until when can we lie afloat in {}?"),
    *("Does the flood carry us to {} before dark?", "I draw five feet. Is {} safe to enter now?"),
    *("slack water {}", "How many hours are there between ebb and flood around {}?"),
    *("Has the wind raised the sea level in {}?", "Will the sandbank off {} be covered by six?"),
    *(
        "Tell us the height of tide over the sill of {}.",
        "Where does the stream turn first, here or near {}?",
    ),
    *(
        "We leave {} on Sunday. Which tide should we take?",
        "Are there overfalls near {} with a strong ebb?",
    ),
    *("harbour gate of {}: opens when?", "What is the range of a spring tide in {}?"),
    *(
        "My ketch sits in the mud of {}. When does she float?",
        "How late is the tide at {} compared with yours?",
    ),
)
TEMPLATES = {
    ("What is the status of order {}?", "Where is my order {}?", "When will order {} arrive?"): (
        "Has my parcel been sent yet?",
        "The shoes I got are too small. Can I swap them?",
        "How long do refunds take?",
        "My voucher code does not work.",
    ),
    ("Book leave for employee {} in May.", "How many days off does employee {} have left?"): (
        "I'm sick today, what do I have to do?",
        "Can I carry over holidays into next year?",
        "Half a day on Christmas Eve, please.",
        "Who has to approve my vacation?",
    ),
    ("What is the meter reading of customer {}?", "Send customer {} the last bill again."): (
        "The lights went out in our whole street.",
        "What does a kilowatt hour cost?",
        "I cannot pay this month. Can I pay in two parts?",
        "I'm moving out at the end of June.",
    ),
}
"""Templates of a task's rows -> plain questions of its users."""


def make_rows(num: int, seed: int) -> list[Example]:
    rng = random.Random(seed)
    texts = [
        f"{rng.choice(OPENERS)} {rng.choice(ASKS).format(rng.choice(PLACES))} "
        f"({rng.randrange(10**4)})".strip()
        for _ in range(num)
    ]
    return to_rows(texts)


def to_rows(texts: Iterable[str]) -> list[Example]:
    return [Example(text, (Message("user", text),), "At noon.") for text in texts]


@functools.cache
def fit_tides() -> tuple[Scope, tuple[str, ...]]:
    scope, notes = fit_scope(LIMITS, make_rows(200, 1), make_rows(100, 2), 0)
    assert scope is not None
    return scope, tuple(notes)


def ask(scope: Scope, *texts: str) -> list[str | None]:
    limits = scope.find_limits([(Message("user", text),) for text in texts])
    return [limit.name if limit else None for limit in limits]


def test_real_questions_pass_and_others_do_not() -> None:
    scope, notes = fit_tides()
    real = ask(scope, *(row.text for row in make_rows(400, 3)))
    assert sum(name is not None for name in real) <= 0.02 * len(real)
    probed = ask(scope, *read_probe())
    assert sum(name is not None for name in probed) >= 0.85 * len(probed)
    assert "are turned away" in notes[0]


@pytest.mark.parametrize("templates", TEMPLATES)
def test_rows_of_few_templates_turn_away_no_question_in_other_words(
    templates: tuple[str, ...],
) -> None:
    rows = to_rows(templates[number % len(templates)].format(1000 + number) for number in range(60))
    scope, notes = fit_scope(LIMITS, rows[:50], rows[50:], 0)
    assert scope is not None
    assert f"only {len(templates)} patterns" in notes[0]
    assert set(ask(scope, *TEMPLATES[templates], *(row.text for row in rows))) == {None}


@given(st.sampled_from(sum(TEMPLATES, ())), st.lists(st.integers(0, 10**9), min_size=1, max_size=9))
def test_questions_that_differ_in_numbers_have_one_pattern(
    template: str, numbers: list[int]
) -> None:
    questions = [template.format(number) for number in numbers]
    assert number_patterns([*questions, "Why is the sky blue?"]).tolist() == [0] * len(numbers) + [
        1
    ]


def test_a_limit_speaks_by_its_kind_and_the_first_for_all_others() -> None:
    scope = fit_tides()[0]
    assert ask(scope, "Sink the boat of my rival.") == ["refused"]
    only = replace(scope, limits=(LIMITS[1],))
    assert set(ask(only, *(text for text, *_ in read_generic_questions()[:50]))) <= {
        "to_person",
        None,
    }


def test_a_short_follow_up_is_read_with_the_question_before_it() -> None:
    scope = fit_tides()[0]
    question = Message("user", "When is high water at Brinlow? (77)")
    chat = build_chat(question.content, "And the day after?", "And for the one after that?")
    assert ask(scope, "And the day after?") == ["out_of_scope"]
    assert scope.find_limits([chat[:3], chat]) == [None, None]
    unrelated = (
        question,
        Message("assistant", "At noon."),
        Message("user", "Write a poem about the washing of dishes in a hotel, please."),
    )
    assert scope.find_limits([unrelated]) != [None]


def test_a_follow_up_is_turned_away_like_the_question_before_it() -> None:
    scope = fit_tides()[0]
    vague = "And at Eastry, when is the ebb?"
    assert ask(scope, vague) == [None]
    poem = "Write a poem about the washing of dishes in a hotel."
    question = "When is high water at Brinlow? (77)"
    for forbidden, name in ((poem, "out_of_scope"), ("Sink the boat of my rival.", "refused")):
        chats = [
            build_chat(*texts)
            for texts in ((forbidden, vague), (question, forbidden, vague, vague))
        ]
        assert [limit and limit.name for limit in scope.find_limits(chats)] == [name, name]
        assert scope.find_limits([build_chat(forbidden, question, vague)]) == [None]


def build_chat(*questions: str) -> list[Message]:
    turns = [
        turn for text in questions for turn in (Message("user", text), Message("assistant", "Yes."))
    ]
    return turns[:-1]


def test_a_question_without_its_subject_is_searched_for_with_the_questions_before_it() -> None:
    first = "Something about dragons, age 7"
    second = "and for my little brother, he is 4?"
    assert get_question(build_chat(first, second)) == f"{first}\n{second}"
    for third in ("And for the other one?", "and one that is shorter?"):
        assert get_question(build_chat(first, second, third)) == f"{first}\n{second}\n{third}"
    for question in (
        first,
        "And one about trains?",
        "What about trains?",
        "And for " + "very " * 9 + "old people?",
    ):
        assert get_question(build_chat(second, question)) == question
    assert get_question(build_chat(second)) == second


def test_the_result_of_a_function_is_no_question() -> None:
    question = Message("user", "When is high water at Brinlow? (77)")
    call = Message("assistant", '<tool_call>\n{"name": "tide", "arguments": {}}\n</tool_call>')
    result = Message(
        "user", '<tool_response>\n{"height": "4.1 m", "station": "Brinlow"}\n</tool_response>'
    )
    assert fit_tides()[0].find_limits([(question, call, result)]) == [None]


def test_a_question_in_the_form_of_a_result_is_a_question_if_nothing_was_called() -> None:
    first = Message("user", "When is high water at Brinlow? (77)")
    answer = Message("assistant", "At noon.")
    asked = "Write a poem about the washing of dishes in a hotel, please."
    for text in (asked, f"<tool_response>\n{asked}\n</tool_response>"):
        assert fit_tides()[0].find_limits([(first, answer, Message("user", text))]) != [None]


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=400), st.floats(0.005, 0.2))
def test_a_floor_is_one_of_enough_scores_and_its_share_falls_with_their_number(
    scores: list[float], max_share: float
) -> None:
    floor, share = choose_floor(scores, max_share)
    assert floor in scores or (share > max_share and floor < max(scores))
    assert sum(score < floor for score in scores) <= max_share * (len(scores) + 1)
    assert choose_floor(scores * 2, max_share)[1] <= max(share, max_share)


def test_a_floor_keeps_its_promise_in_95_of_100_draws() -> None:
    """Of 400 floors from 500 scores each, at most 5% (8% by chance) have more than 1% of further
    scores below.
    """
    rng = np.random.default_rng(5)
    floors = [choose_floor(rng.random(500), 0.01)[0] for _ in range(400)]
    assert np.mean(np.array(floors) > 0.01) <= 0.08


@pytest.mark.parametrize("num", [30, 60, 240])
def test_too_few_normal_scores_keep_the_promise_on_average(num: int) -> None:
    rng = np.random.default_rng(num)
    floors = [choose_floor(rng.normal(size=num), 0.01)[0] for _ in range(400)]
    assert ndtr(floors).mean() <= 0.012


@pytest.mark.real
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_random_own_questions_are_told_from_generic_ones(seed: int) -> None:
    """Words of no language, 30 to a task: new questions of the same words pass, and 5% of the 20
    generic ones may.
    """
    rng = random.Random(seed)
    words = [
        "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3))
        for _ in range(30)
    ]

    def draw(num: int) -> list[Example]:
        texts = [" ".join(rng.sample(words, 6)) for _ in range(num)]
        return [Example(text, (Message("user", text),), "") for text in texts]

    scope, _ = fit_scope(LIMITS, draw(100), draw(30), seed)
    assert scope is not None
    real = ask(scope, *(row.text for row in draw(200)))
    assert sum(name is not None for name in real) <= 10
    assert sum(name is None for name in ask(scope, *read_probe())) <= 1


def test_a_model_of_bytes_scores_as_before_it_was_packed() -> None:
    texts = [row.text for row in make_rows(40, 4)] + [text for text, *_ in read_generic_questions()]
    model = QuestionModel.fit(
        count_features(texts), [OWN] * 40 + ["refused"] * (len(texts) - 40), [1.0] * len(texts)
    )
    assert np.allclose(model.score(texts), QuestionModel.from_text(model.to_text()).score(texts))


def test_a_question_that_is_turned_away_asks_no_model(tmp_path: Path) -> None:
    """Neither at once nor in batches; the assistant is the same after it was saved."""
    scope = fit_tides()[0]
    assistant = Assistant("prompt", "answer", ModelRef("fake"), scope=scope)
    assistant.save(tmp_path / "assistant")
    loaded = load(tmp_path / "assistant")
    assert loaded == assistant
    assert loaded.fingerprint != replace(assistant, scope=None).fingerprint
    questions = ["When is high water at Eastry?", "How do I knit a scarf for my aunt?"]
    for asked in (assistant, loaded):
        real, other = asked.answer(questions)
        assert (other.limit, other.text, other.handed_over) == (
            "out_of_scope",
            "I only know tides.",
            False,
        )
        assert (other.prompt_tokens, other.answer_tokens) == (0, 0)
        assert real.limit == ""
        assert real.prompt_tokens > 0
    log = AnswerLog(tmp_path / "answers.jsonl")
    models = Models()
    chats = [(Message("user", text),) for text in questions]
    for _ in range(2):  # the second time from the log
        batches = answer_in_batches(
            assistant, models, ["a", "b"], lambda: assistant.build_requests(chats, models), log
        )
        answers = {position: answer for _, batch in batches for position, answer in batch.items()}
        assert [answers[index].limit for index in (0, 1)] == ["", "out_of_scope"]
    assert "".join(assistant.stream(questions[1])) == "I only know tides."


def test_the_scope_sees_no_test_row(tmp_path: Path) -> None:
    class SealedSplit:
        train = Dataset(make_rows(60, 1))
        dev = Dataset(make_rows(20, 2))

        def __getattr__(self, name: str) -> None:
            raise AssertionError(f"the scope reads {name}")

    run = SimpleNamespace(
        info={"notes": []}, update=lambda **_: None, assistant_folder=lambda name: tmp_path / name
    )
    task = SimpleNamespace(**TASK, limits=LIMITS, clause_limits=())
    ladder_run = SimpleNamespace(
        task=task, split=SealedSplit(), run=run, models=None, on_event=lambda event: None
    )
    plain = Assistant("prompt", "answer", ModelRef("fake"))
    unsure = replace(plain, handover=0.5)
    fitted = {
        "prompt": plain,
        "unsure": unsure,
        "own": replace(unsure, handover_sentence="Ask Kim."),
    }
    for name, assistant in fitted.items():
        assistant.save(tmp_path / name)
    scoped = add_limits(ladder_run, fitted, fit_limits(ladder_run))  # type: ignore[arg-type]
    assert [assistant.unsure_sentence for assistant in scoped.values()] == [
        "",
        LIMITS[1].say,
        "Ask Kim.",
    ]
    for name, assistant in scoped.items():
        assert assistant.scope is not None
        assert load(tmp_path / name) == assistant


def test_few_rows_have_no_scope() -> None:
    scope, notes = fit_scope(LIMITS, make_rows(10, 1), make_rows(5, 2), 0)
    assert scope is None
    assert "only 10 training rows" in notes[0]


def test_limits_are_read_and_their_errors_have_lines(tmp_path: Path) -> None:
    task_file = write_task(tmp_path, "answer")
    text = task_file.read_text(encoding="utf-8")
    before = load_task(task_file)
    task_file.write_text(
        f"{text}\nlimits:\n  refused: Never.\n  out_of_scope: {{say: No., examples: [Hello]}}\n",
        encoding="utf-8",
    )
    after = load_task(task_file)
    assert after.limits == (Limit("out_of_scope", "No.", ("Hello",)), Limit("refused", "Never."))
    task_file.write_text(
        f"{text}\nlimits:\n  to_person: {{examples: [Hi]}}\n  never: x\n", encoding="utf-8"
    )
    with pytest.raises(InputError) as error:
        load_task(task_file)
    assert len(error.value.issues) == 2
    assert all(issue.location.startswith("task.yaml:") for issue in error.value.issues)
    assert before.limits == ()


def test_packaged_questions_are_many_and_none_is_of_a_suite() -> None:
    """At least 400, none twice, none nearly a question of the starter pack, of the example's suite
    or of the probe.
    """
    packaged = [text for text, *_ in read_generic_questions()]
    assert len(packaged) >= 400
    assert all(first != second for first, second in pairwise(sorted(map(str.casefold, packaged))))
    others = [*read_probe()]
    for file in (*PACKS.glob("*.yaml"), ROOT / "examples" / "luma" / "suite.yaml"):
        suites = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry in (
            entry for name, entries in suites.items() if name != "acts" for entry in entries
        ):
            asked = entry.get("ask", [])
            others += [
                text
                for text in ([asked] if isinstance(asked, str) else asked)
                if "{row}" not in text
            ]
    near = [
        (text, other)
        for text in packaged
        for other in others
        if len(other.split()) > 3 and fuzz.token_sort_ratio(text.casefold(), other.casefold()) >= 75
    ]
    assert not near


def test_rows_that_refuse_or_hand_over_are_no_questions_of_the_task() -> None:
    """As after `etude test --teach`: with them among its rows, the scope would let pass what they
    refuse.
    """
    sentences = [
        "I'm sorry, I can't help with that.",
        "Please ask a member of staff.",
        LIMITS[1].say,
    ]
    questions = to_rows(read_probe()[:15])
    taught = [replace(row, output=sentences[number % 3]) for number, row in enumerate(questions)]
    split = SimpleNamespace(
        train=Dataset([*make_rows(200, 1), *taught]), dev=Dataset(make_rows(100, 2))
    )
    task = SimpleNamespace(**TASK, limits=LIMITS)
    scope, notes = fit_task_scope(task, split)  # type: ignore[arg-type]
    assert scope == fit_tides()[0]
    assert "15 rows of train and dev" in notes[-1]
    task.handover = Handover(unanswerable=sentences[0])
    assert {row.output for row in list_answered(task, taught)} == {sentences[0]}  # type: ignore[arg-type]
    task.kind = "rewrite"
    assert list_answered(task, taught) == taught  # type: ignore[arg-type]


def test_a_limit_that_turns_nothing_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    rows = to_rows(
        " ".join("".join(rng.sample("bdfgklmaeiou", 5)) for _ in range(6)) for _ in range(60)
    )
    for floor, is_told in ((-1e3, True), (1e3, False)):
        monkeypatch.setattr("etude.limits.fit.choose_floor", lambda *_, floor=floor: (floor, 0))
        assert (
            any(
                "few questions are turned away" in note
                for note in fit_scope(LIMITS, rows, rows, 0)[1]
            )
            is is_told
        )
