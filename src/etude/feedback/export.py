"""What people said, as files for other tools and for training on preferences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from etude.base.files import Json
from etude.errors import InputError, Issue, quote_value
from etude.feedback.gather import Gathered
from etude.types import Message

Shape = Literal["examples", "preferences", "openai", "kto"]


def exported(gathered: Gathered, shape: str) -> Iterator[Json]:
    """The rows of one shape, each as a JSON object:

    - examples: `input`, `output`
    - preferences: `prompt`, `chosen`, `rejected`, as TRL and Étude read them
    - openai: `input.messages`, `preferred_output`, `non_preferred_output`, as OpenAI's preference files have them
    - kto: `prompt`, `completion`, `label`

    A chat is a list of turns, and then each answer is a list of one turn. Raises InputError for another shape.
    """
    if shape not in get_args(Shape):
        remedy = f"write one of: {', '.join(get_args(Shape))}"
        raise InputError([Issue("--as", "no shape of rows", quote_value(shape), remedy)])
    if shape == "examples":
        yield from ({"input": _asked(each.input), "output": each.output} for each in gathered.answers)
    elif shape == "preferences":
        for pair in gathered.preferences:
            chosen, rejected = (_said(pair.input, text) for text in (pair.chosen, pair.rejected))
            yield {"prompt": _asked(pair.input), "chosen": chosen, "rejected": rejected}
    elif shape == "openai":
        for pair in gathered.preferences:
            better, worse = ([_turn(Message("assistant", text))] for text in (pair.chosen, pair.rejected))
            asked = {"messages": [_turn(turn) for turn in pair.input]}
            yield {"input": asked, "preferred_output": better, "non_preferred_output": worse}
    else:
        for each in gathered.judgements:
            completion = _said(each.input, each.answer)
            yield {"prompt": _asked(each.input), "completion": completion, "label": each.good}


def _turn(message: Message) -> Json:
    return {"role": message.role, "content": message.content}


def _asked(turns: Sequence[Message]) -> str | list[Json]:
    return turns[0].content if len(turns) == 1 else [_turn(turn) for turn in turns]


def _said(turns: Sequence[Message], answer: str) -> str | list[Json]:
    return answer if len(turns) == 1 else [_turn(Message("assistant", answer))]
