"""Messages to token ids: the only renderer, for training, evaluation, export and chat alike.

A prompt is the text that the model's template puts before an answer, including what it always puts
between the assistant's name and the answer's first word (an empty thinking block, a channel's name).
An answer is its text with the end of turn. A conversation is cut at its assistant turns, and every
piece is encoded by itself, so the ids that a model was asked with are the beginning of the ids it is
trained on, and answers in the middle of a conversation have the ids a model would have generated. A
hidden system text that a template inserts is kept. Where a template has no system turn (it refuses one, or
leaves it out), the instructions stand on top of the first user turn, as the makers of such models advise
(https://ai.google.dev/gemma/docs/core/prompt-structure,
https://docs.mistral.ai/cookbook/concept-deep-dive-tokenization-templates).

Limits: text of a special token inside a message (`<|im_end|>`) is read as that token, as chat
templates do everywhere. A template that can leave out thinking is told to, and one that cannot is
refused. Templates that print today's date get the same day always, so that a prompt is the same
tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2 import TemplateError

from etude.errors import ModelError, quote_value
from etude.types import Message

Chat = Sequence[Message]
Tokens = tuple[list[int], list[bool]]
"""Token ids, and which of them are learned."""
PROBE = "ANSWER"
"""Stands where an answer would, to see what a template puts around it."""
RULES = "INSTRUCTIONS"
"""Stands where instructions would, to see whether a template shows a system turn."""
DAY = {"%Y": "2024", "%m": "07", "%d": "26", "%b": "Jul", "%B": "July", "%A": "Friday", "%y": "24"}
"""What templates that print today's date are told: the day that Llama 3's prints when it knows none."""
ONE_DAY = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in DAY.items())
    + " }}{% endmacro %}{{ '' }}"
)
"""Laid before such a template. The last part keeps the engine from taking away the template's first newline."""


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: Any
    eos_token: Any
    bos_token: Any
    all_special_ids: list[int]

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any:
        """The template's text."""
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

    lead: str
    """Between the generation prompt and the answer."""
    close: str
    """Behind it, up to and with the first special token: the end of turn."""
    own: bool = True
    """Whether `close` is the template's; else the tokenizer's end of text, as the template has none."""


def render_text(tokenizer: Tokenizer, messages: Chat) -> str:
    """The prompt as the model reads it, up to where the answer begins.

    Raises ModelError when the template refuses the messages.
    """
    return _prompt(tokenizer, _seated(tokenizer, messages), frame(tokenizer))


def render(tokenizer: Tokenizer, messages: Chat) -> list[int]:
    """Token ids of `render_text`. Raises ModelError as that does."""
    around, messages = frame(tokenizer), _seated(tokenizer, messages)
    pieces = _pieces(tokenizer, _prompt(tokenizer, messages, around), messages, around)
    return [token for piece, _ in pieces for token in _encode(tokenizer, piece)]


def render_training(tokenizer: Tokenizer, messages: Chat) -> list[Tokens]:
    """What to train on for a conversation that ends with an assistant turn, as sequences of tokens.

    Learned are the tokens of every assistant turn but those of weight 0, and the end of turn behind
    each; the ids before the last answer equal `render(tokenizer, messages[:-1])`. A conversation is one
    sequence, unless the template shows earlier answers in another way than it asks for them (without
    their thinking block, say): then there is one for each answer, as it would be asked.

    Raises ModelError when the last turn is not the assistant's, or when the template changes answers,
    so that what is trained would not be what is asked.
    """
    if not messages or messages[-1].role != "assistant":
        raise ModelError(
            f"A conversation to train on ends with an assistant turn (got {_roles(messages)}). Add the answer."
        )
    around, messages = frame(tokenizer), _seated(tokenizer, messages)
    turns = [at for at, message in enumerate(messages) if message.role == "assistant"]
    for at in turns:
        _check_unchanged(tokenizer, messages[: at + 1], around)
    text = _prompt(tokenizer, messages[:-1], around) + messages[-1].content + around.close
    pieces = list(_pieces(tokenizer, text, messages, around))
    if sum(answer is not None for _, answer in pieces) == len(turns):
        return [_marked(tokenizer, pieces)]
    return [_alone(tokenizer, messages[: at + 1]) for at in turns if messages[at].trained]


def render_answer(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Token ids of an answer and its end of turn, as they follow `render(...)`."""
    return _encode(tokenizer, answer + frame(tokenizer).close)


def end_of_turn(tokenizer: Tokenizer) -> int:
    """The token that closes an assistant turn. Raises ModelError when there is none."""
    return _encode(tokenizer, frame(tokenizer).close)[-1]


def frame(tokenizer: Tokenizer) -> Frame:
    """What the template puts around an answer.

    Raises ModelError when it thinks before it answers whatever it is told, when it shows no answers at
    all, or when neither it nor the tokenizer ends them.
    """
    probe = (Message("user", "question"), Message("assistant", PROBE))
    head = _text(tokenizer, probe[:1], prompt=True)
    whole = _text(tokenizer, probe, prompt=False)
    lead, found, tail = whole[len(head) :].partition(PROBE)
    if not (whole.startswith(head) and found):
        raise ModelError(
            f"The chat template asks with {quote_value(head[-60:])} and shows an answer as {quote_value(whole[-60:])}: it "
            "leaves no place for an answer without thinking. Use a model that can answer at once."
        )
    ids = _encode(tokenizer, tail)
    special = set(tokenizer.all_special_ids)
    for length, token in enumerate(ids, start=1):
        if token in special:
            return Frame(lead, str(tokenizer.decode(ids[:length], skip_special_tokens=False)))
    if not tokenizer.eos_token:
        raise ModelError(
            f"Neither the chat template nor the tokenizer has a special token that ends an answer (it renders "
            f"{quote_value(whole)}). Use the instruction-tuned version of the model, or its tokenizer."
        )
    return Frame(lead, str(tokenizer.eos_token), own=False)


def shows_system(tokenizer: Tokenizer) -> bool:
    """Whether the template shows a system turn, once in every prompt and behind an answer as before it.

    Where it does not, the instructions are rendered on top of the first user turn.
    """
    question = Message("user", "question")
    chat = (Message("system", RULES), question, Message("assistant", PROBE), question)
    try:
        texts = [
            _text(tokenizer, chat[:2], prompt=True),
            _text(tokenizer, chat[:3], prompt=False),
            _text(tokenizer, chat, prompt=True),
        ]
    except ModelError:
        return False
    return all(text.count(RULES) == 1 for text in texts)


def within_first_turn(instructions: str, turns: Chat) -> tuple[Message, ...]:
    """`turns` with the instructions on top of the first one, an empty line between; as a user turn of their
    own where the assistant speaks first, or nobody does."""
    if not turns or turns[0].role != "user":
        return (Message("user", instructions), *turns)
    first, *others = turns
    return (Message("user", f"{instructions}\n\n{first.content}"), *others)


def around_turns(tokenizer: Tokenizer) -> tuple[str, str, str]:
    """What stands before a lone question, between it and its answer, and behind the answer: the template in
    three texts, hidden system text included."""
    before, _, between = render_text(tokenizer, (Message("user", PROBE),)).partition(PROBE)
    return before, between, frame(tokenizer).close


def _seated(tokenizer: Tokenizer, messages: Chat) -> Chat:
    """`messages`, without a system turn where the template shows none."""
    if not messages or messages[0].role != "system" or shows_system(tokenizer):
        return messages
    return within_first_turn(messages[0].content, messages[1:])


def _pieces(
    tokenizer: Tokenizer, text: str, messages: Chat, around: Frame
) -> Iterator[tuple[str, Message | None]]:
    """`text`, cut at its answers, as (piece, the turn it is the answer of).

    Where the template shows an earlier turn in another way than it asks for it, the rest is one piece.
    """
    begin = 0
    for at, message in enumerate(messages):
        if message.role != "assistant":
            continue
        head = _prompt(tokenizer, messages[:at], around)
        answer = message.content + around.close
        if not text.startswith(head + answer):
            break
        yield text[begin : len(head)], None
        yield answer, message
        begin = len(head) + len(answer)
    if begin < len(text):
        yield text[begin:], None


def _marked(tokenizer: Tokenizer, pieces: Sequence[tuple[str, Message | None]]) -> Tokens:
    ids: list[int] = []
    trained: list[bool] = []
    for piece, answer in pieces:
        tokens = _encode(tokenizer, piece)
        ids += tokens
        trained += [answer is not None and answer.trained] * len(tokens)
    return ids, trained


def _alone(tokenizer: Tokenizer, messages: Chat) -> Tokens:
    """The last answer alone, behind the prompt that would ask for it."""
    prompt, answer = render(tokenizer, messages[:-1]), render_answer(tokenizer, messages[-1].content)
    return prompt + answer, [False] * len(prompt) + [True] * len(answer)


def _check_unchanged(tokenizer: Tokenizer, messages: Chat, around: Frame) -> None:
    """Raises ModelError when the template shows the last answer otherwise than it was given."""
    whole = _text(tokenizer, messages, prompt=False)
    head = _prompt(tokenizer, messages[:-1], around)
    wanted = head + messages[-1].content + (around.close if around.own else "")
    if whole.startswith(wanted):
        return
    at = next((i for i, (a, b) in enumerate(zip(whole, wanted, strict=False)) if a != b), len(whole))
    raise ModelError(
        "The chat template rewrites the conversation, so training would not match answering: it renders "
        f"{quote_value(whole[max(0, at - 20) : at + 30])} where {quote_value(wanted[max(0, at - 20) : at + 30])} was given. "
        "Remove spaces and line breaks around the answers."
    )


def _prompt(tokenizer: Tokenizer, messages: Chat, around: Frame) -> str:
    return _text(tokenizer, messages, prompt=True) + around.lead


def _text(tokenizer: Tokenizer, messages: Chat, prompt: bool) -> str:
    if not tokenizer.chat_template:
        return _plain(tokenizer, messages, prompt)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    options: dict[str, Any] = {"add_generation_prompt": prompt, "enable_thinking": False}
    if "strftime_now" in str(tokenizer.chat_template):
        options["chat_template"] = ONE_DAY + tokenizer.chat_template
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except TemplateError as error:
        raise ModelError(
            f"The model's chat template refuses the turns {_roles(messages)}: {error}. "
            "Let user and assistant speak in turn, the user first, or use another model."
        ) from error


def _plain(tokenizer: Tokenizer, messages: Chat, prompt: bool) -> str:
    """The template for tokenizers that bring none.

    The system text stands alone, then `User:` and `Assistant:` lines with the text below; an answer
    ends with the tokenizer's end-of-text token.
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
    return tokenizer.encode(text, add_special_tokens=False)


def _roles(messages: Chat) -> str:
    return quote_value([message.role for message in messages])
