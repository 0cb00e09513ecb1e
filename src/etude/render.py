"""Messages to token ids: the only renderer, for training, evaluation, export and chat alike.

A prompt is the text that the model's template puts before an answer, including text that it always
puts between the assistant's name and the first word of the answer (an empty thinking block, a
channel's name). An answer is its text with the end of turn. A conversation is split at its
assistant turns, and every segment is encoded separately. So the ids of a prompt are the beginning
of the ids that are trained, and answers in the middle of a conversation have the ids that a model
would have generated. Hidden system text that a template inserts is kept. If a template has no
system turn (it refuses one, or leaves it out), the instructions go to the top of the first user
turn, as the makers of such models advise (https://ai.google.dev/gemma/docs/core/prompt-structure,
https://docs.mistral.ai/cookbook/concept-deep-dive-tokenization-templates).

Text of a message that looks like a token of the template (`<|im_end|>`) is plain text: it is split,
and its pieces are encoded separately, so no text can end its turn or start another. Tags that the
template does not put around turns, such as `<tool_call>`, keep their tokens. Text that looks like
plain words of a template ("User:") cannot be recognized.

Limits: thinking is switched off in templates that allow this; other templates with thinking are
refused. Templates that print today's date always get the same date, so that prompts do not change
from day to day.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from jinja2 import TemplateError

from etude.errors import ModelError, quote_value
from etude.types import Message

Chat = Sequence[Message]
Tokens = tuple[list[int], list[bool]]  # token ids, and which of them are trained
PROBE = "ANSWER"  # placeholder for an answer, to see what a template puts around it
# marks where a text is split before it is encoded; no valid text contains half a surrogate pair
CUT = "\ud800"
INSTRUCTIONS = (
    "INSTRUCTIONS"  # placeholder for instructions, to see whether a template has a system turn
)
# The date for templates that print today's: the default in Llama 3's template.
FIXED_DATE = {
    "%Y": "2024",
    "%m": "07",
    "%d": "26",
    "%b": "Jul",
    "%B": "July",
    "%A": "Friday",
    "%y": "24",
}
# Prefix of such a template. Its last part keeps Jinja from removing the template's first newline.
FIXED_DATE_MACRO = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in FIXED_DATE.items())
    + " }}{% endmacro %}{{ '' }}"
)


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    chat_template: Any
    eos_token: Any
    bos_token: Any
    all_special_ids: list[int]
    added_tokens_decoder: Mapping[int, Any]

    def __hash__(self) -> int: ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any:
        """The conversation as text."""
        ...

    def encode(self, text: str, **options: Any) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Text of token ids."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """What a template puts around an answer."""

    lead: str  # between the generation prompt and the answer
    close: str  # after the answer, up to and including the first special token: the end of turn
    is_from_template: bool = (
        True  # whether `close` is the template's; else it is the tokenizer's end of text
    )


def render_text(tokenizer: Tokenizer, messages: Chat) -> str:
    """Return the prompt as the model reads it, up to the beginning of the answer.

    Raises ModelError if the template refuses the messages.
    """
    messages = _move_system(tokenizer, _cut_marks(tokenizer, messages))
    return _format_prompt(tokenizer, messages, find_frame(tokenizer)).replace(CUT, "")


def render(tokenizer: Tokenizer, messages: Chat) -> list[int]:
    """Return the token ids of `render_text`. Raises ModelError like `render_text`."""
    frame = find_frame(tokenizer)
    messages = _move_system(tokenizer, _cut_marks(tokenizer, messages))
    segments = _split_at_answers(
        tokenizer, _format_prompt(tokenizer, messages, frame), messages, frame
    )
    return [token for segment, _ in segments for token in _encode(tokenizer, segment)]


def render_training(tokenizer: Tokenizer, messages: Chat) -> list[Tokens]:
    """Return the token sequences to train on for a conversation that ends with an assistant turn.

    The tokens of every assistant turn (except turns of weight 0) and the end of turn after it are
    trained. The ids before the last answer equal `render(tokenizer, messages[:-1])`. A conversation
    is one sequence, unless the template renders earlier answers differently from the last one (for
    example without their thinking block). Then each answer has its own sequence, with the prompt
    that would ask for it.

    Raises ModelError if the last turn is not the assistant's, or if the template changes answers,
    so that training would not match answering.
    """
    if not messages or messages[-1].role != "assistant":
        raise ModelError(
            "A conversation to train on must end with an assistant turn (got "
            f"{_quote_roles(messages)}). Add the answer."
        )
    frame = find_frame(tokenizer)
    messages = _move_system(tokenizer, _cut_marks(tokenizer, messages))
    positions = [
        position for position, message in enumerate(messages) if message.role == "assistant"
    ]
    for position in positions:
        _check_unchanged(tokenizer, messages[: position + 1], frame)
    # One sequence if every answer follows the prompt that would ask for it, else one sequence for
    # each answer.
    text = _format_prompt(tokenizer, messages[:-1], frame) + messages[-1].content + frame.close
    segments = list(_split_at_answers(tokenizer, text, messages, frame))
    if sum(answer is not None for _, answer in segments) == len(positions):
        ids: list[int] = []
        trained: list[bool] = []
        for segment, answer in segments:
            tokens = _encode(tokenizer, segment)
            ids += tokens
            trained += [answer is not None and answer.trained] * len(tokens)
        return [(ids, trained)]
    sequences = []
    for position in positions:
        if messages[position].trained:
            prompt = render(tokenizer, messages[:position])
            tokens = render_answer(tokenizer, messages[position].content)
            sequences.append((prompt + tokens, [False] * len(prompt) + [True] * len(tokens)))
    return sequences


def render_answer(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Return the token ids of an answer and its end of turn, to append to `render(...)`."""
    (message,) = _cut_marks(tokenizer, (Message("assistant", answer),))
    return _encode(tokenizer, message.content + find_frame(tokenizer).close)


def end_of_turn(tokenizer: Tokenizer) -> int:
    """Return the token that ends an assistant turn. Raises ModelError if there is none."""
    return _encode(tokenizer, find_frame(tokenizer).close)[-1]


def find_frame(tokenizer: Tokenizer) -> Frame:
    """Find the text that the template puts around an answer.

    Raises ModelError if thinking cannot be switched off, if the template leaves out answers, or if
    neither the template nor the tokenizer has a token that ends an answer.
    """
    probe = (Message("user", "question"), Message("assistant", PROBE))
    prompt = _apply_template(tokenizer, probe[:1], prompt=True)
    text = _apply_template(tokenizer, probe, prompt=False)
    lead, answer, tail = text[len(prompt) :].partition(PROBE)
    if not (text.startswith(prompt) and answer):
        raise ModelError(
            f"The chat template does not allow an answer without thinking: its prompt ends with "
            f"{quote_value(prompt[-60:])}, and it renders an answer as {quote_value(text[-60:])}. "
            "Use a model that can answer without thinking."
        )
    # The end of turn is whatever follows the answer, up to the first special token.
    ids = _encode(tokenizer, tail)
    special = set(tokenizer.all_special_ids)
    for length, token in enumerate(ids, start=1):
        if token in special:
            return Frame(lead, str(tokenizer.decode(ids[:length], skip_special_tokens=False)))
    if not tokenizer.eos_token:
        raise ModelError(
            "Neither the chat template nor the tokenizer has a special token that ends an answer "
            f"(it renders {quote_value(text)}). Use the instruction-tuned version of the model, "
            "or its tokenizer."
        )
    return Frame(lead, str(tokenizer.eos_token), is_from_template=False)


def has_system_turn(tokenizer: Tokenizer) -> bool:
    """Whether the template renders a system turn exactly once, in prompts and in whole
    conversations.

    If it does not, the instructions are rendered on top of the first user turn.
    """
    question = Message("user", "question")
    chat = (Message("system", INSTRUCTIONS), question, Message("assistant", PROBE), question)
    try:
        texts = [
            _apply_template(tokenizer, chat[:2], prompt=True),
            _apply_template(tokenizer, chat[:3], prompt=False),
            _apply_template(tokenizer, chat, prompt=True),
        ]
    except ModelError:
        return False
    return all(text.count(INSTRUCTIONS) == 1 for text in texts)


def merge_instructions(instructions: str, turns: Chat) -> tuple[Message, ...]:
    """Return `turns` with the instructions at the top of the first user turn, separated by an empty
    line. If the first turn is not the user's, or there are no turns, the instructions become a user
    turn of their own.
    """
    if not turns or turns[0].role != "user":
        return (Message("user", instructions), *turns)
    return (Message("user", f"{instructions}\n\n{turns[0].content}"), *turns[1:])


def split_template(tokenizer: Tokenizer) -> tuple[str, str, str]:
    """Return the template as three texts: before a question, between question and answer, and after
    the answer.
    """
    before, _, between = render_text(tokenizer, (Message("user", PROBE),)).partition(PROBE)
    return before, between, find_frame(tokenizer).close


def _cut_marks(tokenizer: Tokenizer, messages: Chat) -> Chat:
    """Return `messages` with a CUT after the first character of every text that looks like a token
    of the template.
    """
    pattern = _find_marks(tokenizer, str(tokenizer.chat_template))
    if pattern is None or not any(pattern.search(message.content) for message in messages):
        return messages
    return [
        replace(message, content=pattern.sub(lambda match: match[0] + CUT, message.content))
        for message in messages
    ]


@lru_cache(maxsize=8)
def _find_marks(tokenizer: Tokenizer, template: str) -> re.Pattern[str] | None:
    """Build a pattern for the first character of every special token, and of every other added
    token around a turn.
    """
    turns = (Message("user", "question"), Message("assistant", PROBE), Message("user", "question"))
    around = _apply_template(tokenizer, turns, prompt=False)
    marks = {
        str(token)
        for token in tokenizer.added_tokens_decoder.values()
        if len(str(token).strip()) > 1 and (token.special or str(token) in around)
    }
    alternatives = "|".join(map(re.escape, sorted(marks)))
    return re.compile(f"(?={alternatives}).", re.DOTALL) if marks else None


def _move_system(tokenizer: Tokenizer, messages: Chat) -> Chat:
    """Return `messages`, with the system turn moved into the first user turn if the template has no
    system turn.
    """
    if not messages or messages[0].role != "system" or has_system_turn(tokenizer):
        return messages
    return merge_instructions(messages[0].content, messages[1:])


def _split_at_answers(
    tokenizer: Tokenizer, text: str, messages: Chat, frame: Frame
) -> Iterator[tuple[str, Message | None]]:
    """Split `text` into segments, each with the turn whose answer it is, or None.

    If the template renders an earlier turn differently from the last turn, all text from there on
    is one segment.
    """
    begin = 0
    for position, message in enumerate(messages):
        # an assistant turn at the start has no prompt, and transformers cannot render an empty
        # conversation
        if message.role != "assistant" or (position == 0 and tokenizer.chat_template):
            continue
        prompt = _format_prompt(tokenizer, messages[:position], frame)
        answer = message.content + frame.close
        if not text.startswith(prompt + answer):
            break
        yield text[begin : len(prompt)], None
        yield answer, message
        begin = len(prompt) + len(answer)
    if begin < len(text):
        yield text[begin:], None


def _check_unchanged(tokenizer: Tokenizer, messages: Chat, frame: Frame) -> None:
    """Raise ModelError if the template changes the last answer."""
    text = _apply_template(tokenizer, messages, prompt=False)
    expected = _format_prompt(tokenizer, messages[:-1], frame) + messages[-1].content
    expected += frame.close if frame.is_from_template else ""
    if text.startswith(expected):
        return
    # Show some characters around the first difference.
    pairs = enumerate(zip(text, expected, strict=False))
    first = next((position for position, (a, b) in pairs if a != b), len(text))
    excerpt = slice(max(0, first - 20), first + 30)
    text, expected = (side[excerpt].replace(CUT, "") for side in (text, expected))
    raise ModelError(
        "The chat template rewrites the conversation, so training would not match answering: it "
        f"renders {quote_value(text)} instead of {quote_value(expected)}. Remove spaces and line "
        "breaks around the answers."
    )


def _format_prompt(tokenizer: Tokenizer, messages: Chat, frame: Frame) -> str:
    return _apply_template(tokenizer, messages, prompt=True) + frame.lead


def _apply_template(tokenizer: Tokenizer, messages: Chat, prompt: bool) -> str:
    if not tokenizer.chat_template:
        return _apply_plain_template(tokenizer, messages, prompt)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    # Templates without the option ignore it.
    options: dict[str, Any] = {"add_generation_prompt": prompt, "enable_thinking": False}
    if "strftime_now" in str(tokenizer.chat_template):
        options["chat_template"] = FIXED_DATE_MACRO + tokenizer.chat_template
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except (
        TemplateError,
        ValueError,
    ) as error:  # transformers raises the latter for an empty conversation
        raise ModelError(
            f"The model's chat template refuses the turns {_quote_roles(messages)}: {error}. "
            "Alternate user and assistant turns, starting with the user, or use another model."
        ) from error


def _apply_plain_template(tokenizer: Tokenizer, messages: Chat, prompt: bool) -> str:
    """The template for tokenizers without one: the system text, then `User:` and `Assistant:` lines
    with the text below each; an answer ends with the tokenizer's end-of-text token.
    """
    if not tokenizer.eos_token:
        raise ModelError(
            f"The tokenizer has neither a chat template nor an end-of-text token (got "
            f"{quote_value(tokenizer.eos_token)}). Use the instruction-tuned version of the model."
        )
    heads = {"system": "", "user": "User:\n", "assistant": "Assistant:\n"}
    tails = {"system": "\n\n", "user": "\n\n", "assistant": f"{tokenizer.eos_token}\n\n"}
    turns = [heads[message.role] + message.content + tails[message.role] for message in messages]
    return (tokenizer.bos_token or "") + "".join(turns) + (heads["assistant"] if prompt else "")


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return [
        token
        for piece in text.split(CUT)
        for token in tokenizer.encode(piece, add_special_tokens=False)
    ]


def _quote_roles(messages: Chat) -> str:
    return quote_value([message.role for message in messages])
