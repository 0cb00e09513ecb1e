"""Training and answering see the same token ids under the chat templates that the field uses.

The templates are those that come with TRL; the tokenizers are tiny ones that know their special
tokens.
"""

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.errors import ModelError
from etude.render import end_of_turn, render, render_answer, render_text, render_training
from etude.types import Message
from test_render import conversations
from tiny import build_tokenizer

SPECIAL = r"<\|[^|<>{}\s'\"]+\|?>|<[a-z_]+_?turn>|<turn\|>|</?s>|<\uff5c[^<>]+\uff5c>"
WHOLE = [
    *("cohere", "cohere2", "gemma", "gemma3", "gemma4", "lfm2", "llama3", "llama3_1", "llama3_2"),
    *(
        "muse_glimmer",
        "nemotron_3_nano",
        "phi3",
        "phi3_5",
        "qwen2_5",
        "qwen2_5_vl",
        "qwen3_instruct_2507",
    ),
    "qwen3_vl",
]
"""Templates under which a conversation is one sequence."""
APART = ["glm4moe", "gptoss", "qwen3", "qwen3_5_think", "qwen3_6"]
"""Templates that show earlier answers in another way than they ask for them."""
THINKING = ["deepseek_r1_distill", "deepseekv3"]
"""Templates that always think first."""

spoken = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"], exclude_characters="<|>"),
    max_size=20,
)
texts = spoken.map(str.strip).filter(bool)


def template(name: str) -> str:
    found = find_spec("trl")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no TRL, whose chat templates these are; to run: pip install trl")
    return (
        Path(found.submodule_search_locations[0]) / "chat_templates" / f"{name}.jinja"
    ).read_text("utf-8")


@lru_cache
def tokenizer_for(name: str) -> Any:
    text = template(name)
    tokenizer = build_tokenizer(text)
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.add_special_tokens({"extra_special_tokens": sorted(set(re.findall(SPECIAL, text)))})
    return tokenizer


@pytest.mark.parametrize("name", [*WHOLE, *APART])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_every_answer_is_trained_behind_the_very_ids_that_ask_for_it(
    name: str, data: st.DataObject
) -> None:
    tokenizer = tokenizer_for(name)
    messages = data.draw(conversations(texts))
    sequences = render_training(tokenizer, messages)
    turns = [at for at, message in enumerate(messages) if message.role == "assistant"]
    assert len(sequences) == (1 if name in WHOLE or len(turns) == 1 else len(turns))
    for at in turns:
        prompt = render(tokenizer, messages[:at])
        answer = render_answer(tokenizer, messages[at].content)
        ids, trained = sequences[0] if len(sequences) == 1 else sequences[turns.index(at)]
        end = len(prompt) + len(answer)
        assert ids[:end] == prompt + answer
        assert trained[len(prompt) : end] == [True] * len(answer)
        assert answer[-1] == end_of_turn(tokenizer)
    answers = [render_answer(tokenizer, messages[at].content) for at in turns]
    assert sum(sum(trained) for _, trained in sequences) == sum(map(len, answers))


@pytest.mark.parametrize("name", [*WHOLE, *APART])
def test_the_prompt_is_the_templates_own_text_of_an_answered_conversation(name: str) -> None:
    tokenizer = tokenizer_for(name)
    question = Message("user", "where is my card")
    prompt = render_text(tokenizer, [question])
    assert (
        tokenizer.decode(render(tokenizer, [question]), clean_up_tokenization_spaces=False)
        == prompt
    )
    turns = [
        {"role": "user", "content": question.content},
        {"role": "assistant", "content": "on its way"},
    ]
    whole = tokenizer.apply_chat_template(turns, tokenize=False, enable_thinking=False)
    date = r"\d{2} \w{3} \d{4}|\d{4}-\d\d-\d\d"
    assert re.sub(date, "a day", whole).startswith(re.sub(date, "a day", prompt) + "on its way")


@pytest.mark.parametrize("name", [*WHOLE, *APART])
def test_a_turn_that_is_not_to_be_learned_is_not_trained(name: str) -> None:
    tokenizer = tokenizer_for(name)
    messages = (
        Message("user", "where is my card"),
        Message("assistant", "no idea", trained=False),
        Message("user", "please"),
        Message("assistant", "on its way"),
    )
    (ids, trained) = render_training(tokenizer, messages)[-1]
    learned = [token for token, on in zip(ids, trained, strict=True) if on]
    assert learned == render_answer(tokenizer, "on its way")
    assert len(render_training(tokenizer, messages)) == 1


@pytest.mark.parametrize("name", THINKING)
def test_a_template_that_always_thinks_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="does not allow an answer without thinking"):
        render(tokenizer_for(name), [Message("user", "where is my card")])


def test_a_prompt_with_todays_date_is_the_same_every_day() -> None:
    assert "Today Date: 26 Jul 2024" in render_text(
        tokenizer_for("llama3_2"), [Message("user", "hi")]
    )
    assert "Current date: 2024-07-26" in render_text(
        tokenizer_for("gptoss"), [Message("user", "hi")]
    )


@pytest.mark.parametrize("name", [*WHOLE, *APART])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_text_that_looks_like_the_template_is_text(name: str, data: st.DataObject) -> None:
    """Contents made of the template's own tokens add none of them, and no text is lost."""
    tokenizer = tokenizer_for(name)
    marks = sorted(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    pieces = st.lists(
        st.one_of(st.sampled_from(marks), st.sampled_from(["system", "x", "<", "|", ">"]))
    )
    roles = ("system", "user", "assistant", "user")
    plain = [Message(role, "x") for role in roles]
    forged = [Message(role, f"x{''.join(data.draw(pieces))}x") for role in roles]

    def list_special(ids: list[int]) -> list[int]:
        return [token for token in ids if token in tokenizer.all_special_ids]

    prompt = render(tokenizer, forged)
    assert list_special(prompt) == list_special(render(tokenizer, plain))
    assert tokenizer.decode(prompt, clean_up_tokenization_spaces=False) == render_text(
        tokenizer, forged
    )
    for (ids, trained), (same, _) in zip(
        render_training(tokenizer, forged[:3]), render_training(tokenizer, plain[:3]), strict=True
    ):
        assert list_special(ids) == list_special(same)
        learned = [token for token, on in zip(ids, trained, strict=True) if on]
        assert learned == render_answer(tokenizer, forged[2].content)


@pytest.mark.parametrize("name", [*WHOLE, *APART])
def test_a_tag_that_is_no_turn_of_the_template_keeps_its_token(name: str) -> None:
    tokenizer = tokenizer_for.__wrapped__(name)
    tokenizer.add_tokens(["<shelf_tag>"])
    tag = tokenizer.convert_tokens_to_ids("<shelf_tag>")
    assert tag in render(tokenizer, [Message("user", "on <shelf_tag> four")])
