"""Training and answering see the same token ids; only answers and their ends of turn are
trained.
"""

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.errors import ModelError
from etude.render import (
    end_of_turn,
    has_system_turn,
    render,
    render_answer,
    render_text,
    render_training,
)
from etude.types import Message
from tiny import CHATML, build_tokenizer

TOKENIZER = build_tokenizer()
PLAIN = build_tokenizer(None, "<|endoftext|>")
HIDDEN = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "Be kind<|im_end|>\n"
    "' }}{% endif %}" + CHATML
)
STRIPPING = CHATML.replace("m['content']", "m['content'].strip()")
ENDLESS = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant: "
)
SHY = (
    "{% if messages[0]['role'] != 'user' %}{{ raise_exception('the user begins') }}{% endif %}"
    + CHATML
)
TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
END = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TALK = (
    "{% set rules = messages[0]['content'] if messages[0]['role'] == 'system' %}"
    "{% for m in messages if m['role'] != 'system' %}"
)
WITHOUT_SYSTEM = {
    "refuses it": "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + CHATML,
    "wants roles in turn": "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}" + TURN + "{% endfor %}" + END,
    "leaves it out": TALK + TURN + "{% endfor %}" + END,
    "forgets it once it is answered": TALK + "{% if loop.last and m['role'] == 'user' and rules %}"
    "{{ '<|im_start|>user\n' + rules + '\n\n' + m['content'] + '<|im_end|>\n' }}{% else %}"
    + TURN
    + "{% endif %}{% endfor %}"
    + END,
}
"""Templates that show no system turn, or not in every prompt, by what they do with one."""
WITH_SYSTEM = {
    "a turn of its own": CHATML,
    "inside the first question": TALK + "{% if loop.first and rules %}"
    "{{ '<|im_start|>user\n[' + rules + ']\n' + m['content'] + '<|im_end|>\n' }}{% else %}"
    + TURN
    + "{% endif %}{% endfor %}"
    + END,
}

texts = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), max_size=30)


@st.composite
def conversations(draw: st.DrawFn, texts: st.SearchStrategy[str] = texts) -> tuple[Message, ...]:
    """An optional system text, then turns that end with the assistant's."""
    head = [Message("system", draw(texts))] if draw(st.booleans()) else []
    turns = [
        message
        for _ in range(draw(st.integers(1, 4)))
        for message in (Message("user", draw(texts)), Message("assistant", draw(texts)))
    ]
    return (*head, *turns)


def both(test: Any) -> Any:
    return pytest.mark.parametrize(
        "tokenizer", [TOKENIZER, PLAIN], ids=["template", "no template"]
    )(test)


@both
@given(messages=conversations())
@settings(max_examples=60, deadline=None)
def test_every_answer_is_trained_with_its_end_of_turn_behind_what_was_asked(
    tokenizer: Any, messages: tuple[Message, ...]
) -> None:
    ((ids, trained),) = render_training(tokenizer, messages)
    assert ids == render(tokenizer, messages[:-1]) + render_answer(tokenizer, messages[-1].content)
    runs = [
        [token for token, _ in run]
        for on, run in groupby(zip(ids, trained, strict=True), lambda pair: pair[1])
        if on
    ]
    answers = [message.content for message in messages if message.role == "assistant"]
    assert runs == [render_answer(tokenizer, answer) for answer in answers]
    assert all(run[-1] == end_of_turn(tokenizer) for run in runs)


@given(messages=conversations())
@settings(max_examples=60, deadline=None)
def test_the_text_is_the_templates_own(messages: tuple[Message, ...]) -> None:
    turns = [{"role": message.role, "content": message.content} for message in messages[:-1]]
    own = TOKENIZER.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert render_text(TOKENIZER, messages[:-1]) == own
    assert (
        TOKENIZER.decode(render(TOKENIZER, messages[:-1]), clean_up_tokenization_spaces=False)
        == own
    )


def test_ids_equal_the_templates_own_where_words_do_not_meet_the_seams() -> None:
    messages = (
        Message("user", "where is it"),
        Message("assistant", "card"),
        Message("user", "refund"),
    )
    turns = [{"role": message.role, "content": message.content} for message in messages]
    own = TOKENIZER.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert render(TOKENIZER, messages) == list(own)


def test_a_hidden_system_text_is_kept() -> None:
    assert render_text(build_tokenizer(HIDDEN), [Message("user", "a")]).startswith(
        "<|im_start|>system\nBe kind"
    )


@pytest.mark.parametrize("name", [*WITHOUT_SYSTEM, *WITH_SYSTEM])
@given(rules=texts.filter(str.strip), data=st.data())
@settings(max_examples=15, deadline=None)
def test_instructions_stand_in_every_prompt_once_and_are_never_learned(
    name: str, rules: str, data: st.DataObject
) -> None:
    tokenizer = build_tokenizer((WITHOUT_SYSTEM | WITH_SYSTEM)[name])
    assert has_system_turn(tokenizer) == (name in WITH_SYSTEM)
    words = f"<<{rules}>>"  # no other text holds these signs
    talk = [message for message in data.draw(conversations()) if message.role != "system"]
    messages = [Message("system", words), *talk]
    ((ids, trained),) = render_training(tokenizer, messages)
    for at, message in enumerate(messages):
        if message.role == "assistant":
            assert render_text(tokenizer, messages[:at]).count(words) == 1
            asked = render(tokenizer, messages[:at])
            assert ids[: len(asked)] == asked
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False).count(words) == 1
    answers = [
        render_answer(tokenizer, message.content) for message in talk if message.role == "assistant"
    ]
    learned = [token for token, on in zip(ids, trained, strict=True) if on]
    assert learned == [token for answer in answers for token in answer]


@pytest.mark.parametrize("name", WITHOUT_SYSTEM)
def test_without_a_system_turn_instructions_stand_on_top_of_the_first_question(name: str) -> None:
    tokenizer = build_tokenizer(WITHOUT_SYSTEM[name])
    talk = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
    moved = [Message("user", "Be kind.\n\none"), *talk[1:]]
    assert render(tokenizer, [Message("system", "Be kind."), *talk]) == render(tokenizer, moved)
    assert render_text(tokenizer, [Message("system", "Be kind.")]) == render_text(
        tokenizer, [Message("user", "Be kind.")]
    )


def test_without_a_template_turns_are_labelled_lines() -> None:
    system = Message("system", "Rules.")
    user = Message("user", "q")
    assistant = Message("assistant", "a")
    messages = [system, user, assistant, Message("user", "r")]
    expected = "Rules.\n\nUser:\nq\n\nAssistant:\na<|endoftext|>\n\nUser:\nr\n\nAssistant:\n"
    assert render_text(PLAIN, messages) == expected


def test_a_prompt_may_begin_with_the_assistant() -> None:
    turns = (("assistant", "hello"), ("user", "q"), ("assistant", "a"), ("user", "r"))
    messages = [Message(role, text) for role, text in turns]  # type: ignore[arg-type]
    ids = render(TOKENIZER, messages)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == render_text(
        TOKENIZER, messages
    )
    with pytest.raises(ModelError, match=r"empty conversation.*starting with the user"):
        render_training(TOKENIZER, messages[:1])


def test_the_end_of_turn_is_the_token_behind_an_answer() -> None:
    assert end_of_turn(build_tokenizer(CHATML, "<|endoftext|>")) == TOKENIZER.convert_tokens_to_ids(
        "<|im_end|>"
    )


def test_a_template_that_changes_answers_is_refused_for_training_only() -> None:
    tokenizer = build_tokenizer(STRIPPING)
    messages = (Message("user", "q"), Message("assistant", " spaced "))
    with pytest.raises(ModelError, match=r"rewrites the conversation.*spaced"):
        render_training(tokenizer, messages)
    followed = (*messages, Message("user", "more"))
    assert tokenizer.decode(render(tokenizer, followed)) == render_text(tokenizer, followed)


@pytest.mark.parametrize(
    ("tokenizer", "messages", "words"),
    [
        (TOKENIZER, (Message("user", "q"),), r"must end with an assistant turn.*\['user'\]"),
        (TOKENIZER, (), "must end with an assistant turn"),
        (
            build_tokenizer(ENDLESS, None),
            (Message("user", "q"), Message("assistant", "a")),
            "Neither the chat template nor the tokenizer has a special token that ends",
        ),
        (
            build_tokenizer(None, None),
            (Message("user", "q"), Message("assistant", "a")),
            "neither a chat template",
        ),
        (
            build_tokenizer(SHY),
            (Message("assistant", "s"), Message("assistant", "a")),
            "the user begins.*starting with the user",
        ),
    ],
    ids=["no answer", "nothing", "nothing ends an answer", "no end token", "refused role"],
)
def test_what_cannot_be_rendered_is_explained(
    tokenizer: Any, messages: tuple[Message, ...], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        render_training(tokenizer, messages)
