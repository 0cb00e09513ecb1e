"""The Assistant: what every method produces, and all that evaluation, chat and server ever see.

Every method of the ladder is a combination of the same ingredients (instructions, examples in the
prompt, weights, restricted answers), so there is one class and no subclass.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any, Literal, NamedTuple, cast, overload

from etude.base.files import REMEDY, folder_aside, link_or_copy, read_json
from etude.errors import InputError, Issue, RunError
from etude.index.passages import Passage
from etude.index.search import Search, load_search
from etude.models.backend import Capability
from etude.models.registry import Models
from etude.render import within_first_turn
from etude.task.contract import Contract
from etude.types import Answer, Completion, Example, Kind, Message, Model, ModelRef, Request, Role, SearchRef

FORMAT = 1
FILE = "assistant.json"
ADAPTER = "adapter"
SEARCH, SIMILAR = "search", "similar"
Input = str | Sequence[Message | Mapping[str, str]]
"""A text or a chat."""
SEAMS = 32
"""Tokens by which a prompt may differ from the sum of its parts, each counted by itself."""


class Searches(NamedTuple):
    """What an assistant looks things up in."""

    passages: Search | None = None
    similar: Search | None = None
    """Over the questions of its pool."""


NO_SEARCHES = Searches()


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
    """Where the instructions stand: a system message, or on top of the first user turn. A model whose template
    has no system turn is given them there in either case."""
    shots: tuple[Example, ...] = ()
    """Examples shown in the prompt, in this order; the last ones are left out where not all fit."""
    choices: tuple[str, ...] = ()
    """When given, every answer is one of these."""
    contract: Contract | None = None
    max_tokens: int = 256
    search: SearchRef | None = None
    """What it looks up passages in."""
    num_passages: int = 1
    """Passages shown behind a question; fewer where they do not fit the context."""
    pool: tuple[Example, ...] = ()
    """Examples of which the `num_similar` nearest to the question are shown, the nearest last; `similar` ranks them."""
    similar: SearchRef | None = None
    num_similar: int = 0
    enforced: bool = False
    """Whether the contract's form is enforced while an answer is written."""
    handover: float | None = None
    """Confidence below which it hands over to a person; None is never."""

    @property
    def needs(self) -> tuple[Capability, ...]:
        """What its model must be able to do."""
        kept: tuple[Capability, ...] = ("choices",) if self.choices else ()
        form: tuple[Capability, ...] = ("grammar",) if self.enforced else ()
        return ("generate", *kept, *form)

    def without_examples(self) -> Assistant:
        """The same without an example in the prompt."""
        return replace(self, shots=(), pool=(), similar=None, num_similar=0)

    def messages(self, turns: Sequence[Message], num_shots: int | None = None) -> tuple[Message, ...]:
        """The whole conversation for these turns (without a system message), behind the first `num_shots`
        examples or all of them."""
        shown = [
            message
            for shot in self.shots[:num_shots]
            for message in (*shot.input, Message("assistant", shot.output))
        ]
        return instructed(self.instructions, self.place, (*shown, *turns))

    def requests(self, inputs: Sequence[Sequence[Message]], models: Models) -> list[Request]:
        """`prepare` with the assistant's model and its searches."""
        return self.prepare(inputs, models.get(self.model, *self.needs), self.opened(models))

    def opened(self, models: Models) -> Searches:
        """What it looks things up in, loaded once for all assistants that share it."""

        def loaded(ref: SearchRef | None) -> Search | None:
            return None if ref is None else models.once(ref, lambda: load_search(ref.folder, models.encoder))

        return Searches(loaded(self.search), loaded(self.similar))

    def prepare(
        self, inputs: Sequence[Sequence[Message]], model: Model, searches: Searches = NO_SEARCHES
    ) -> list[Request]:
        """One request per input for `model`, in order, each with the passages and examples found for it.

        Passages are left out from the last on, then examples, until the prompt and `max_tokens` fit the model's
        context; `shots_dropped` says how many examples. A prompt that does not fit without any is left to the
        model to refuse.
        """
        search, similar = searches
        assert (search is None) == (self.search is None), "an assistant that looks things up needs its search"
        assert (similar is None) == (self.similar is None), "an assistant with a pool needs its search"
        if similar is not None:
            ranked = similar.find([turns[-1].content for turns in inputs], self.num_similar)
            rest = searches._replace(similar=None)
            return [self._with_nearest(*each, model, rest) for each in zip(inputs, ranked, strict=True)]
        limit = PromptLimit(self, model)
        if search is None:
            return [self._request(turns, limit.shots(turns)) for turns in inputs]
        found = self.found(inputs, search)
        return [self._with_passages(*each, limit) for each in zip(inputs, found, strict=True)]

    def _with_nearest(
        self, turns: Sequence[Message], ranked: Sequence[int], model: Model, rest: Searches
    ) -> Request:
        """The request behind as many of the nearest examples as fit."""
        nearest = [self.pool[position] for position in ranked]
        for num in range(len(nearest), -1, -1):
            one = replace(self.without_examples(), shots=tuple(reversed(nearest[:num])))
            if num == 0 or PromptLimit(one, model).fits(turns, num):
                break
        (request,) = one.prepare([turns], model, rest)
        return replace(request, shots_dropped=request.shots_dropped + len(nearest) - num)

    def found(self, inputs: Sequence[Sequence[Message]], search: Search) -> list[list[Passage]]:
        """The passages that `search` finds for the last turn of each input."""
        questions = [turns[-1].content for turns in inputs]
        ranked = search.find(questions, self.num_passages)
        return [[search.passages[position] for position in row] for row in ranked]

    def _with_passages(
        self, turns: Sequence[Message], found: Sequence[Passage], limit: PromptLimit
    ) -> Request:
        for num in range(len(found), 0, -1):
            shown = with_passages(turns, found[:num])
            if limit.fits(shown):
                names = tuple(passage.name for passage in found[:num])
                return replace(self._request(shown, limit.shots(shown)), citations=names)
        return self._request(turns, limit.shots(turns))

    def finish(
        self,
        ids: Sequence[str],
        completions: Sequence[Completion],
        shots_dropped: Sequence[int],
        citations: Sequence[tuple[str, ...]],
    ) -> list[Answer]:
        """One answer per completion, in order; `ids` name them, the rest is that of the requests."""
        return [self._answer(*each) for each in zip(ids, completions, shots_dropped, citations, strict=True)]

    @overload
    def answer(self, inputs: Input, models: Models | None = None) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    def answer(self, inputs: Sequence[Input], models: Models | None = None) -> list[Answer]: ...
    def answer(self, inputs: Input | Sequence[Input], models: Models | None = None) -> Answer | list[Answer]:
        """Answer one input, or a list of inputs in order: `finish` around the model around `prepare`.

        An input is a text or a chat: a list of turns, each a Message or {"role": ..., "content": ...}, that ends
        with the user's. Without `models` the weights are loaded once in this process and stay loaded.
        Raises InputError for a chat with a system message or without a last turn of the user.
        """
        one = isinstance(inputs, str) or isinstance(next(iter(inputs), None), Message | Mapping)
        chats = [_turns(each) for each in cast(Sequence[Input], [inputs] if one else inputs)]
        models = models or _shared_models()
        requests = self.requests(chats, models)
        completions = models.get(self.model).generate(requests)
        ids = [str(number) for number in range(len(chats))]
        dropped, cited = (
            [getattr(each, name) for each in requests] for name in ("shots_dropped", "citations")
        )
        done = self.finish(ids, completions, dropped, cited)
        return done[0] if one else done

    def stream(self, given: Input, models: Models | None = None) -> Iterator[str]:
        """The answer to one input, piece by piece."""
        models = models or _shared_models()
        return models.get(self.model).stream(self.requests([_turns(given)], models)[0])

    def _request(self, turns: Sequence[Message], num_shots: int) -> Request:
        dropped = len(self.shots) - num_shots
        form = self.contract.form if self.enforced and self.contract else None
        return Request(self.messages(turns, num_shots), self.max_tokens, self.choices, dropped, grammar=form)

    def _answer(self, row: str, done: Completion, shots_dropped: int, citations: tuple[str, ...]) -> Answer:
        text = done.text.strip()
        sure = math.exp(done.logprob) if self.choices and done.logprob is not None else None
        return Answer(
            id=row,
            text=text,
            value=self.contract.parse(text) if self.contract else text,
            keeps_contract=not self.contract.check(text) if self.contract else None,
            failures=self.contract.check(text) if self.contract else (),
            confidence=sure,
            prompt_tokens=done.prompt_tokens,
            cached_tokens=done.cached_tokens,
            answer_tokens=done.answer_tokens,
            seconds=done.seconds,
            truncated=done.finish == "length",
            shots_dropped=shots_dropped,
            citations=citations,
            handed_over=self.handover is not None and sure is not None and sure < self.handover,
        )

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides an answer, adapter files included; the method's name does not."""
        digest = hashlib.sha256(replace(self, method="")._json().encode())
        for file in _files(self.model.adapter):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes the assistant with its adapter to `folder`, whole or not at all (see `folder_aside`).

        The bytes depend on the assistant alone: no time, no path.
        """
        with folder_aside(folder) as aside:
            (aside / FILE).write_text(self._json(), encoding="utf-8")
            if self.model.adapter is not None:
                copytree(self.model.adapter, aside / ADAPTER, copy_function=link_or_copy)
            if self.search is not None:
                copytree(self.search.folder, aside / SEARCH, copy_function=link_or_copy)
            if self.similar is not None:
                copytree(self.similar.folder, aside / SIMILAR, copy_function=link_or_copy)

    def _json(self) -> str:
        body = {"format": FORMAT, **asdict(self), "model": self.model.name}
        body["contract"] = asdict(self.contract) if self.contract else None
        if self.search is None:
            del body["search"], body["num_passages"]
        else:
            body["search"] = self.search.fingerprint
        if self.similar is None:
            for key in ("pool", "similar", "num_similar"):
                del body[key]
        else:
            body["similar"] = self.similar.fingerprint
        if not self.enforced:
            del body["enforced"]
        if self.handover is None:
            del body["handover"]
        for shot in (*body["shots"], *body.get("pool", ())):
            del shot["where"], shot["source"]
        # keys keep their order, in which a schema is put into words
        return json.dumps(body, ensure_ascii=False, indent=1, default=dict)


@cache
def _shared_models() -> Models:
    return Models()


def _turns(given: Input) -> tuple[Message, ...]:
    """The turns of one input."""
    if isinstance(given, str):
        return (Message("user", given),)
    turns = tuple(
        turn if isinstance(turn, Message) else Message(cast(Role, turn["role"]), turn["content"])
        for turn in given
    )
    roles = [turn.role for turn in turns]
    if not {"user", "assistant"}.issuperset(roles) or roles[-1:] != ["user"]:
        what = "a chat has turns of user and assistant, and ends with the user's"
        remedy = "leave out a system message (the assistant has its own instructions) and any last answer"
        raise InputError([Issue("inputs", what, ", ".join(roles), remedy)])
    return turns


@dataclass(frozen=True)
class PromptLimit:
    """What of an assistant's prompt fits a model's context, with `max_tokens` kept free for the answer.

    Cheap where it is clear: a token is at least a byte, and the tokens of the examples are counted once.
    """

    assistant: Assistant
    model: Model
    _shot_tokens: dict[int, int] = field(default_factory=dict, init=False)

    @property
    def tokens(self) -> int:
        """Tokens a prompt may have."""
        return self.model.context - self.assistant.max_tokens

    def fits(self, turns: Sequence[Message], num_shots: int = 0) -> bool:
        """Whether the prompt for these turns fits behind the first `num_shots` examples."""
        messages = self.assistant.messages(turns, num_shots)
        return self._clear(messages) or self.model.count_tokens(messages) <= self.tokens

    def shots(self, turns: Sequence[Message]) -> int:
        """How many examples, from the first on, fit before these turns; 0 also where they do not fit alone."""
        most = len(self.assistant.shots)
        if not most or self._clear(self.assistant.messages(turns)):
            return most
        left = self.tokens - self.model.count_tokens(self.assistant.messages(turns, 0))
        kept = max(0, bisect_right(range(most + 1), left - SEAMS, key=self._tokens_of) - 1)
        while kept < most and self.fits(turns, kept + 1):
            kept += 1
        return kept

    def _clear(self, messages: Sequence[Message]) -> bool:
        return len(self.model.render_text(messages).encode()) <= self.tokens

    def _tokens_of(self, num_shots: int) -> int:
        """What the first `num_shots` examples add to a prompt, in tokens."""
        if num_shots not in self._shot_tokens:
            question = (Message("user", "."),)
            counts = [
                self.model.count_tokens(self.assistant.messages(question, num)) for num in (0, num_shots)
            ]
            self._shot_tokens[num_shots] = counts[1] - counts[0]
        return self._shot_tokens[num_shots]


def instructed(
    instructions: str, place: Literal["system", "user"], turns: Sequence[Message]
) -> tuple[Message, ...]:
    """`turns` with the instructions laid before them: as a system message, or inside the first turn."""
    if not instructions:
        return tuple(turns)
    if place == "system":
        return (Message("system", instructions), *turns)
    return within_first_turn(instructions, turns)


def load(folder: Path | str) -> Assistant:
    """The assistant saved in `folder`. Loads no weights; the next answer does.

    Raises RunError when the folder holds no readable assistant or one of another format.
    """
    folder = Path(folder)
    body = read_json(folder / FILE)
    if body.pop("format", None) != FORMAT:
        raise RunError(f"{folder / FILE} is of another format than this version reads. {REMEDY}")
    try:
        found = _assistant(body, folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / FILE} holds no assistant ({error}). {REMEDY}") from error
    if found.model.adapter is not None:
        _shared_models().evict(found.model)  # another training may have replaced the adapter
    return found


def with_passages(turns: Sequence[Message], passages: Sequence[Passage]) -> tuple[Message, ...]:
    """`turns` with passages behind the last one, an empty line before each."""
    *earlier, last = turns
    texts = (last.content, *(passage.text for passage in passages))
    return (*earlier, replace(last, content="\n\n".join(texts)))


def _assistant(body: dict[str, Any], folder: Path) -> Assistant:
    adapter, search, similar = folder / ADAPTER, body.pop("search", None), body.pop("similar", None)
    model = ModelRef(body.pop("model"), adapter if adapter.is_dir() else None)
    return Assistant(
        model=model,
        shots=tuple(_shot(shot) for shot in body.pop("shots")),
        choices=tuple(body.pop("choices")),
        contract=_contract(body.pop("contract")),
        pool=tuple(_shot(shot) for shot in body.pop("pool", ())),
        search=None if search is None else SearchRef(folder / SEARCH, search),
        similar=None if similar is None else SearchRef(folder / SIMILAR, similar),
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
