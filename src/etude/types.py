"""The nouns, as frozen values. No I/O, no behaviour beyond a derived field.

Nouns with a module of their own: Contract (task/contract.py), Task (task/definition.py), Dataset (data/dataset.py),
Split (data/splits/), Assistant (assistant.py), Verdict (runs/verdict.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]
Kind = Literal["classify", "extract", "answer", "rewrite"]
Side = Literal["train", "dev", "test"]
Severity = Literal["error", "warning", "note"]
Act = Literal["answer", "refuse", "ask_back", "hand_over", "incoherent"]
"""What an answer does; incoherent output does nothing, and is never taken for a refusal."""
ACTS: tuple[Act, ...] = ("answer", "refuse", "ask_back", "hand_over", "incoherent")
CLASSICAL = "classical"
"""Name in a ModelRef of what is no language model; its folder says which it is."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str
    trained: bool = True
    """Whether training learns this turn; only an assistant's turn ever is learned."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row: an input, the answer wanted, and what is known about the row."""

    id: str
    """Unique within its Dataset; the row's own `id` column, else the hash of input and output."""
    input: tuple[Message, ...]
    """The turns before the answer, without a system message; the last one is the user's."""
    output: str
    """The answer wanted."""
    references: tuple[str, ...] = ()
    """Further answers that are as right as `output`."""
    group: str | None = None
    """Rows of one group never stand on two sides of the split."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Names and values by which results are shown apart."""
    location: str = ""
    """`file:line` the row was read from."""
    source: str | None = None
    """The document that the answer was written from, or file and place of a passage, as answers cite it."""

    @property
    def text(self) -> str:
        """The input as one text: turns joined by a newline, the last user turn last."""
        return "\n".join(message.content for message in self.input)


class Grammar(NamedTuple):
    """What an answer is kept to, token by token."""

    kind: Literal["json_schema", "regex"]
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a Model is asked: the whole conversation, and how it may answer."""

    messages: tuple[Message, ...]
    max_tokens: int
    """At most this many answer tokens; an answer stopped by it has finish "length"."""
    choices: tuple[str, ...] = ()
    """When given, the answer is exactly one of these texts; an endpoint is only hoped to give one."""
    shots_dropped: int = 0
    """Examples of the Assistant that were left out, for the prompt would not have fitted the context."""
    citations: tuple[str, ...] = ()
    """Names of the passages that the prompt shows, the best first."""
    grammar: Grammar | None = None
    """What the answer is kept to, by backends that can do "grammar"."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a Model gave back for one Request."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    """Tokens of the rendered request, cached ones included."""
    cached_tokens: int
    """Prompt tokens that were computed once for several requests."""
    answer_tokens: int
    """Tokens generated, end of turn included."""
    seconds: float
    """This request's share of its batch's wall-clock seconds."""
    logprob: float | None
    """Sum of the log-probabilities of the answer's tokens; with choices, the log of the choice's
    probability among the choices. None where the model does not say."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a served answer is chosen. The default is what is measured: always the likeliest token."""

    temperature: float = 0.0
    """0 is the likeliest token; else probabilities are those of the logits divided by it."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    top_logprobs: int | None = None
    """How many of the likeliest tokens are named at every place; None asks for no log-probabilities at all."""
    json_schema: str = ""
    """A schema, as JSON, that the answer is kept to."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token of an answer, its log-probability, and the likeliest tokens at its place with theirs."""

    text: str
    logprob: float
    likeliest: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that were answered together: the unit of resume."""

    number: int
    """Position in the plan that the whole request list fixes."""
    indices: tuple[int, ...]
    """Which requests of the list, in the order of `completions`."""
    completions: tuple[Completion, ...]
    shots_dropped: tuple[int, ...] = ()
    """As the requests have it, in the same order; empty where nobody has noted it."""
    citations: tuple[tuple[str, ...], ...] = ()
    """Likewise."""


@runtime_checkable
class Model(Protocol):
    """Anything that answers requests."""

    name: str

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Answers the whole list batch by batch. The plan depends on the whole list only, so that
        leaving out the batches numbered in `done` changes nothing about the others."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the order of the requests."""
        ...

    def stream(self, request: Request) -> Iterator[str]:
        """The answer to one request, piece by piece."""
        ...

    def render_text(self, messages: Sequence[Message]) -> str:
        """The prompt that these messages become, verbatim."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that these messages become."""
        ...

    @property
    def context(self) -> int:
        """The longest prompt with its answer, in tokens."""
        ...


class TrainableModel(Model, Protocol):
    """A Model whose weights are in this process, for the training loop to change."""

    module: Any
    """The transformers model, in evaluation mode."""
    tokenizer: Any
    folder: Path | None
    """What both were read from."""


class LearningModel(Model, Protocol):
    """A Model that learns rows by itself."""

    def learn(self, rows: Sequence[Example], folder: Path) -> tuple[str, str]:
        """Writes to `folder` an adapter that gives the rows' answers. Returns a sentence and a note for the report."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of an Assistant, with everything that was observed while it was made."""

    id: str
    text: str
    value: Any
    """The parsed answer: a label, a JSON value, a mapping of fields, or the text itself."""
    keeps_contract: bool | None
    """Whether the answer keeps the contract; None without a contract."""
    failures: tuple[str, ...]
    """Kinds of contract failure, e.g. "missing field: Ages"."""
    confidence: float | None
    """Probability of the label (classify), else None."""
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    seconds: float
    truncated: bool
    """Stopped by the length limit."""
    shots_dropped: int = 0
    """Examples left out of the prompt, which would not have fitted the model's context."""
    citations: tuple[str, ...] = ()
    """Names of the passages that the answer was given with, the best first: file, and heading or record."""
    handed_over: bool = False
    """Not sure enough: a person is to decide. The text is what would have been answered."""


@dataclass(frozen=True, slots=True)
class Score:
    """How right one answer is."""

    value: float
    """The headline metric's score of this row, 0 to 1 (for macro-F1: 1 when the label is right)."""
    keeps_contract: bool | None
    """Contract kept."""
    check: float | None
    """What the task's check function said, 0 to 1."""
    others: Mapping[str, float] = field(default_factory=dict)
    """Further metrics, shown beside the headline and deciding nothing."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that knows its uncertainty."""

    value: float
    low: float
    high: float
    n: int
    """Independent units it rests on: groups where rows are grouped, else rows."""


@dataclass(frozen=True, slots=True)
class PricedCost:
    """What one request costs, on average over the test rows."""

    prompt_tokens: float = 0.0
    """Cached ones included."""
    cached_tokens: float = 0.0
    answer_tokens: float = 0.0
    seconds: float = 0.0
    price: float | None = None
    """In the unit of the task's prices; None when the task names none."""


@dataclass(frozen=True, slots=True)
class MethodPair:
    """Method a minus method b, with an interval that holds for all pairs together."""

    a: str
    b: str
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Preference:
    """One input, the better and the worse answer, who said so; of a thumb only one of the two is there."""

    id: str
    input: tuple[Message, ...]
    """As an Example has it."""
    chosen: str
    rejected: str
    authors: tuple[str, ...] = ()
    location: str = ""
    """`file:line` it was read from."""

    @property
    def text(self) -> str:
        """The input as one text, as `Example.text` has it."""
        return "\n".join(message.content for message in self.input)


Column = Literal["input", "output"]
"""The two texts of a row."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A passage of one row that shows what a finding speaks of."""

    row: str
    """Id of the row; "" where the row could not be read."""
    location: str
    """`file:line` of the row."""
    column: Column
    text: str
    spans: tuple[tuple[int, int], ...] = ()
    """Begin and end of the characters of `text` that matter, ascending."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check of the data."""

    kind: str
    severity: Severity
    rows: tuple[str, ...]
    """Row ids concerned; where they are ranked, the worst first."""
    message: str
    """What was found, in a sentence."""
    remedy: str
    """What to do, in a sentence."""
    locations: tuple[str, ...] = ()
    """`file:line` of each row, in the order of `rows`; also of rows that could not be read."""
    subjects: tuple[str, ...] = ()
    """What each row is named for, in the order of `rows`, such as a field; empty where the kind says it all."""
    excerpts: tuple[Excerpt, ...] = ()
    """Passages of a few of the rows."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What was counted or estimated, by name."""
    fix: str = ""
    """What can be done about it without a person; "" where only a person can tell."""
    other_kinds: tuple[str, ...] = ()
    """Further kinds that the finding tells of, in the same rows."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which weights: a name as the task file gives it, and an adapter folder laid over it."""

    name: str
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class SearchRef:
    """A saved search over passages: its folder, and a hash of everything that decides what it finds."""

    folder: Path
    fingerprint: str
