"""The Assistant: what every method produces, and all that evaluation, chat and server ever see.

Every step of the ladder is a combination of the same ingredients (instructions, examples in the
prompt, weights, restricted answers), so there is one class and no subclass.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from etude.contract import Contract
from etude.errors import RunError
from etude.types import Answer, Completion, Example, Kind, Message, Model, ModelRef, Request

FORMAT = 1
FILE = "assistant.json"
ADAPTER = "adapter"


class Models(Protocol):
    """Hands out loaded weights."""

    def get(self, ref: ModelRef) -> Model:
        """The model of a reference, loaded at most once."""
        ...


@dataclass(frozen=True)
class Assistant:
    """A fitted assistant: a value that says how a question becomes a request, and of which model.

    It holds no weights. `prepare` and `finish` are the two halves of answering, so that a server
    that streams or batches runs the same code that was measured.
    """

    method: str
    kind: Kind
    model: ModelRef
    """The weights; `model.adapter` is a folder with what a method has taught (or None)."""
    instructions: str = ""
    place: Literal["system", "user"] = "system"
    """Where the instructions stand: a system message, or on top of the first user turn."""
    shots: tuple[Example, ...] = ()
    """Examples shown in the prompt, in this order."""
    choices: tuple[str, ...] = ()
    """When given, every answer is one of these."""
    contract: Contract | None = None
    max_tokens: int = 256

    def messages(self, turns: Sequence[Message]) -> tuple[Message, ...]:
        """The whole conversation that is sent for these turns (without a system message)."""
        shown = [
            message for shot in self.shots for message in (*shot.input, Message("assistant", shot.output))
        ]
        return instructed(self.instructions, self.place, (*shown, *turns))

    def prepare(self, inputs: Sequence[Sequence[Message]]) -> list[Request]:
        """One request per input, in order."""
        return [Request(self.messages(turns), self.max_tokens, self.choices) for turns in inputs]

    def finish(self, ids: Sequence[str], completions: Sequence[Completion]) -> list[Answer]:
        """One answer per completion, in order; `ids` name them."""
        return [self._answer(row, done) for row, done in zip(ids, completions, strict=True)]

    def answer(self, inputs: Sequence[Sequence[Message]], models: Models) -> list[Answer]:
        """Answers to the inputs, in order: `finish` around the model around `prepare`."""
        completions = models.get(self.model).generate(self.prepare(inputs))
        return self.finish([str(number) for number in range(len(inputs))], completions)

    def stream(self, turns: Sequence[Message], models: Models) -> Iterator[str]:
        """The answer to one conversation, piece by piece."""
        return models.get(self.model).stream(self.prepare([turns])[0])

    def _answer(self, row: str, done: Completion) -> Answer:
        text = done.text.strip()
        return Answer(
            id=row,
            text=text,
            value=self.contract.parse(text) if self.contract else text,
            form=not self.contract.check(text) if self.contract else None,
            failures=self.contract.check(text) if self.contract else (),
            confidence=math.exp(done.logprob) if self.choices else None,
            prompt_tokens=done.prompt_tokens,
            cached_tokens=done.cached_tokens,
            answer_tokens=done.answer_tokens,
            seconds=done.seconds,
            cut=done.finish == "length",
        )

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides an answer, adapter files included."""
        digest = hashlib.sha256(self._json().encode())
        for file in _files(self.model.adapter):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes the assistant with its adapter to `folder`, aside first, then renamed.

        The bytes depend on the assistant alone: no time, no path.
        """
        aside = folder.with_name(folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / FILE).write_text(self._json(), encoding="utf-8")
        if self.model.adapter is not None:
            shutil.copytree(self.model.adapter, aside / ADAPTER)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)

    def _json(self) -> str:
        body = {"format": FORMAT, **asdict(self), "model": self.model.name}
        body["contract"] = asdict(self.contract) if self.contract else None
        for shot in body["shots"]:
            del shot["where"]
        return json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True, default=dict)


def instructed(
    instructions: str, place: Literal["system", "user"], turns: Sequence[Message]
) -> tuple[Message, ...]:
    """`turns` with the instructions laid before them: as a system message, or inside the first turn."""
    if not instructions:
        return tuple(turns)
    if place == "system":
        return (Message("system", instructions), *turns)
    first = Message(turns[0].role, f"{instructions}\n\n{turns[0].content}")
    return (first, *turns[1:])


def load(folder: Path) -> Assistant:
    """The assistant saved in `folder`. Loads no weights.

    Raises RunError when the folder holds no assistant or one of another format.
    """
    try:
        body: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RunError(
            f"{folder} holds no readable assistant ({error}). Run `etude compare` again."
        ) from error
    if body.pop("format", None) != FORMAT:
        raise RunError(f"{folder / FILE} is of another format than this version reads. Compare again.")
    adapter = folder / ADAPTER
    model = ModelRef(body.pop("model"), adapter if adapter.is_dir() else None)
    return Assistant(
        model=model,
        shots=tuple(_shot(shot) for shot in body.pop("shots")),
        choices=tuple(body.pop("choices")),
        contract=_contract(body.pop("contract")),
        **body,
    )


def _shot(body: Mapping[str, Any]) -> Example:
    turns = tuple(Message(**message) for message in body["input"])
    return Example(**{**body, "input": turns, "references": tuple(body["references"])})


def _contract(body: Mapping[str, Any] | None) -> Contract | None:
    if body is None:
        return None
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in body.items()
    }
    return Contract(**values)


def _files(folder: Path | None) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
