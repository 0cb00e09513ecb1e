"""Feedback as files for other tools and for training on preferences."""

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from etude.base.files import Json
from etude.base.issues import check_known
from etude.data.formats.write import format_turn
from etude.feedback.gather import GatheredFeedback
from etude.types import Message

ExportFormat = Literal["examples", "preferences", "openai", "kto"]


def export_rows(gathered: GatheredFeedback, format: str) -> Iterator[Json]:
    """Yield the rows of one format, each as a JSON object:

    - examples: `input`, `output`
    - preferences: `prompt`, `chosen`, `rejected`, as TRL and Étude read them
    - openai: `input.messages`, `preferred_output`, `non_preferred_output`, as in OpenAI's preference files
    - kto: `prompt`, `completion`, `label`

    A chat is a list of turns, and then each answer is a list of one turn. Raises InputError for another format.
    """
    check_known("--as", [format], get_args(ExportFormat), "an unknown format")
    if format == "examples":
        for answer in gathered.answers:
            yield {"input": _format_input(answer.input), "output": answer.output}
    elif format == "preferences":
        for pair in gathered.preferences:
            better, worse = (_format_answer(pair.input, text) for text in (pair.chosen, pair.rejected))
            yield {"prompt": _format_input(pair.input), "chosen": better, "rejected": worse}
    elif format == "openai":
        for pair in gathered.preferences:
            better, worse = (
                [format_turn(Message("assistant", text))] for text in (pair.chosen, pair.rejected)
            )
            messages = [format_turn(turn) for turn in pair.input]
            yield {"input": {"messages": messages}, "preferred_output": better, "non_preferred_output": worse}
    else:
        for judgement in gathered.judgements:
            completion = _format_answer(judgement.input, judgement.answer)
            prompt = _format_input(judgement.input)
            yield {"prompt": prompt, "completion": completion, "label": judgement.is_good}


def _format_input(turns: Sequence[Message]) -> str | list[Json]:
    return turns[0].content if len(turns) == 1 else [format_turn(turn) for turn in turns]


def _format_answer(turns: Sequence[Message], answer: str) -> str | list[Json]:
    return answer if len(turns) == 1 else [format_turn(Message("assistant", answer))]
