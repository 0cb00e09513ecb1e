"""Messages to token ids: the only renderer, for training, evaluation, export and chat alike.

A conversation is cut at its assistant turns: text up to and with the generation prompt, the answer,
the end of turn, and so on. Every piece is encoded by itself, so the ids that a model was asked with
are the beginning of the ids it is trained on, and answers in the middle of a conversation have the
ids a model would have generated. The text is always the template's own; a hidden system text that a
template inserts is kept.

Limit: text of a special token inside a message (`<|im_end|>`) is read as that token, as chat
templates do everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from jinja2 import TemplateError

from etude.errors import ModelError, shown
from etude.types import Message

Chat = Sequence[Message]


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


def render_text(tokenizer: Tokenizer, messages: Chat) -> str:
    """The prompt as the model reads it, up to where the answer begins.

    Raises ModelError when the template refuses the messages.
    """
    return _text(tokenizer, messages, prompt=True)


def render(tokenizer: Tokenizer, messages: Chat) -> list[int]:
    """Token ids of `render_text`. Raises ModelError as that does."""
    return [token for piece, _ in _pieces(tokenizer, messages) for token in _encode(tokenizer, piece)]


def render_training(tokenizer: Tokenizer, messages: Chat) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation that ends with an assistant turn, and which of them are trained.

    Trained are the tokens of every assistant turn and the end of turn behind each; the ids before the
    last answer equal `render(tokenizer, messages[:-1])`.

    Raises ModelError when the last turn is not the assistant's, or when the template changes answers
    or earlier turns, so that what is trained would not be what is asked.
    """
    if not messages or messages[-1].role != "assistant":
        raise ModelError(
            f"A conversation to train on ends with an assistant turn (got {_roles(messages)}). Add the answer."
        )
    ids: list[int] = []
    trained: list[bool] = []
    for piece, is_answer in _pieces(tokenizer, messages, strict=True):
        tokens = _encode(tokenizer, piece)
        ids += tokens
        trained += [is_answer] * len(tokens)
    return ids, trained


def render_answer(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Token ids of an answer and its end of turn, as they follow `render(...)`."""
    return _encode(tokenizer, answer) + _encode(tokenizer, ending(tokenizer))


def end_of_turn(tokenizer: Tokenizer) -> int:
    """The token that closes an assistant turn. Raises ModelError when the template has none."""
    return _encode(tokenizer, ending(tokenizer))[-1]


def ending(tokenizer: Tokenizer) -> str:
    """The text a template puts behind an answer, up to and with its first special token."""
    probe = (Message("user", "a"), Message("assistant", "b"))
    head = _text(tokenizer, probe[:1], prompt=True) + "b"
    whole = _text(tokenizer, probe, prompt=False)
    if whole.startswith(head):
        ids = _encode(tokenizer, whole[len(head) :])
        special = set(tokenizer.all_special_ids)
        for length, token in enumerate(ids, start=1):
            if token in special:
                return str(tokenizer.decode(ids[:length], skip_special_tokens=False))
    raise ModelError(
        f"The chat template has no special token that ends an answer (it renders {shown(whole)}). "
        "Use the instruction-tuned version of the model, or its tokenizer."
    )


def _pieces(tokenizer: Tokenizer, messages: Chat, strict: bool = False) -> Iterator[tuple[str, bool]]:
    """The conversation's text in order, as (text, whether it is an answer with its end of turn).

    A template that rewrites earlier turns cannot be cut: with `strict` that is a ModelError, else the
    rest is one piece.
    """
    closing = messages[-1].role == "assistant" if messages else False
    whole = _text(tokenizer, messages, prompt=not closing)
    begin = 0
    turns = [number for number, message in enumerate(messages) if message.role == "assistant"]
    close = ending(tokenizer) if turns else ""
    for number in turns:
        head = _text(tokenizer, messages[:number], prompt=True)
        answer = messages[number].content + close
        if not whole.startswith(head + answer):
            if strict:
                raise _changed(whole, head + answer)
            break
        yield head[begin:], False
        yield answer, True
        begin = len(head) + len(answer)
    if not closing:
        yield whole[begin:], False


def _changed(whole: str, wanted: str) -> ModelError:
    at = next((i for i, (a, b) in enumerate(zip(whole, wanted, strict=False)) if a != b), len(whole))
    return ModelError(
        "The chat template rewrites the conversation, so training would not match answering: it renders "
        f"{shown(whole[max(0, at - 20) : at + 30])} where {shown(wanted[max(0, at - 20) : at + 30])} was given. "
        "Remove spaces and line breaks around the answers, or train on single-turn rows."
    )


def _text(tokenizer: Tokenizer, messages: Chat, prompt: bool) -> str:
    if not tokenizer.chat_template:
        return _plain(tokenizer, messages, prompt)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt))
    except TemplateError as error:
        raise ModelError(
            f"The model's chat template refuses the turns {_roles(messages)}: {error}. "
            "Where it knows no system turn, move the instructions into the user's text."
        ) from error


def _plain(tokenizer: Tokenizer, messages: Chat, prompt: bool) -> str:
    """The template for tokenizers that bring none.

    The system text stands alone, then `User:` and `Assistant:` lines with the text below; an answer
    ends with the tokenizer's end-of-text token.
    """
    if not tokenizer.eos_token:
        raise ModelError(
            f"The tokenizer has neither a chat template nor an end-of-text token (got "
            f"{shown(tokenizer.eos_token)}). Use the instruction-tuned version of the model."
        )
    heads = {"system": "", "user": "User:\n", "assistant": "Assistant:\n"}
    tails = {"system": "\n\n", "user": "\n\n", "assistant": f"{tokenizer.eos_token}\n\n"}
    turns = [heads[message.role] + message.content + tails[message.role] for message in messages]
    return (tokenizer.bos_token or "") + "".join(turns) + (heads["assistant"] if prompt else "")


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _roles(messages: Chat) -> str:
    return shown([message.role for message in messages])
