"""The nouns, as frozen values. No I/O, no behaviour except derived properties.

Nouns that have their own module: Contract (task/contract.py), Task (task/definition.py), Dataset
(data/dataset.py), Split (data/splits/), Assistant (assistant.py), Verdict (runs/verdict.py).
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
"""What an answer does. Incoherent output has no act of its own, and never counts as a refusal."""
ACTS: tuple[Act, ...] = ("answer", "refuse", "ask_back", "hand_over", "incoherent")
CLASSICAL = "classical"
"""Name in a ModelRef of a classifier that is not a language model; the adapter folder contains the
classifier.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str
    trained: bool = True
    """Whether training learns this turn; only turns of the assistant are ever learned."""


def join_turns(turns: Sequence[Message]) -> str:
    """The contents of turns, without a system turn, joined by a newline."""
    return "\n".join(turn.content for turn in turns if turn.role != "system")


MADE = "made"  # the source of a row that a model wrote: `etude make`
# suffix of the file, beside `made_rows:`, of all made rows that passed the gates
CANDIDATES = ".candidates.jsonl"
# suffix of the file, beside `made_rows:`, of its rows before people read them in the studio
AS_MADE = ".as-made.jsonl"


@dataclass(frozen=True, slots=True)
class Example:
    """One row: an input, the right answer, and further columns of the row."""

    id: str
    """Unique within its Dataset; the row's own `id` column, else the hash of input and output."""
    input: tuple[Message, ...]
    """The turns before the answer; the last one is the user's. The first may be a system turn of
    the row's own.
    """
    output: str
    """The right answer."""
    references: tuple[str, ...] = ()
    """Further answers that are equally right."""
    group: str | None = None
    """Rows of one group are always on one side of the split."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Names and values by which results are broken down."""
    location: str = ""
    """`file:line` the row was read from."""
    source: str | None = None
    """The document that the answer was written from, or file and location of a passage, as in
    citations. MADE for a row that a model wrote.
    """
    answers: Mapping[str, str] = field(default_factory=dict)
    """Name of another model -> its stored answer, which a comparison scores beside the methods."""
    conversation: str | None = None
    """With `turns: all`, the id of the row for the conversation's last turn; rows of earlier turns
    share it.
    """
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of a function that the row offers -> the values of its arguments if they are left
    out.
    """

    @property
    def is_whole(self) -> bool:
        """Whether this row has all turns of its conversation, because the answer is the last
        one.
        """
        return self.conversation in (None, self.id)

    @property
    def is_made(self) -> bool:
        """Whether a model wrote this row. Such rows are only trained on."""
        return self.source == MADE

    @property
    def text(self) -> str:
        """The input as one text: turns joined by a newline, the last user turn last, without a
        system turn.
        """
        return join_turns(self.input)


@dataclass(frozen=True, slots=True)
class TaskQuestion:
    """One of several questions about each row: a choice among labels, such as yes and no, or a
    score.
    """

    name: str
    ask: str = ""
    """The question in words."""
    labels: tuple[str, ...] = ()
    """Empty for all labels of the training rows."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """Label -> what it means, for the labels that the user described."""
    is_score: bool = False
    """Whether the labels are scores, ordered from the lowest to the highest."""
    column: str = ""
    """The column of the examples with the right labels."""


class Grammar(NamedTuple):
    """What decoding is constrained to, token by token."""

    kind: Literal["json_schema", "regex"]
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """A question to a Model: the whole conversation, and limits of the answer."""

    messages: tuple[Message, ...]
    max_tokens: int
    """Maximum number of answer tokens; an answer that reaches it has finish "length"."""
    choices: tuple[str, ...] = ()
    """If set, the answer is exactly one of these texts; an endpoint cannot guarantee it."""
    shots_dropped: int = 0
    """Shots of the Assistant that were left out because the prompt would not have fitted the
    context.
    """
    citations: tuple[str, ...] = ()
    """Names of the passages in the prompt, the best first."""
    sampling: Sampling | None = None
    """How the answer is drawn, for backends that can "sample"; None is the likeliest."""
    grammar: Grammar | None = None
    """Constrains the answer, with backends that support "grammar"."""
    reply: Completion | None = None
    """The answer, if a limit turns the question away; then no model is asked."""
    nearness: float | None = None
    """The cosine of the question with the nearest training question, 0 to 1, if hand-over looks at
    it.
    """
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """Choice -> what it means, for a model that reads it beside the messages."""
    passage_scores: tuple[float, ...] = ()
    """Scores of the two best passages, the best first."""
    scores_tokens: bool = False
    """Whether the answer's log-probability is needed, from a model that computes it only if
    asked.
    """
    questions: tuple[TaskQuestion, ...] = ()
    """The questions that the answer, a JSON object, has to answer, for a model that reads them
    beside the messages.
    """

    @property
    def facts(self) -> PromptFacts:
        """What the answer to it has to report."""
        return PromptFacts(self.shots_dropped, self.citations, self.nearness, self.passage_scores)


class PromptFacts(NamedTuple):
    """What an Answer reports of its Request; the fields are those of the Request."""

    shots_dropped: int = 0
    citations: tuple[str, ...] = ()
    nearness: float | None = None
    passage_scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of a Model to one Request."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    """Tokens of the rendered request, including cached ones."""
    cached_tokens: int
    """Prompt tokens that were computed only once for several requests."""
    answer_tokens: int
    """Generated tokens, including the end of turn."""
    seconds: float
    """This request's share of its batch's wall-clock seconds."""
    logprob: float | None
    """Sum of the log-probabilities of the answer's tokens; with choices, the log of the choice's
    probability among the choices. None if the model does not report it.
    """
    limit: str = ""
    """Name of the limit that turned the question away."""
    min_logprob: float | None = None
    """The lowest log-probability of a token of the answer, if the model reports it."""
    choice_logprobs: Mapping[str, float] = field(default_factory=dict, compare=False)
    """With choices, the log of each one's probability among them, if the model reports it. With
    several questions, the keys are JSON objects of one question and one of its labels. Logs keep
    only those of several questions.
    """


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a served answer is sampled. The default is the one that is measured: always the likeliest
    token.
    """

    temperature: float = 0.0
    """0 takes the likeliest token; otherwise logits are divided by it."""
    top_p: float = 1.0
    """Sample only from the likeliest tokens that together have this probability."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    top_logprobs: int | None = None
    """How many of the likeliest tokens to report at every position; None for no
    log-probabilities.
    """
    json_schema: str = ""
    """A schema, as JSON, that constrains the answer."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token of an answer, its log-probability, and the likeliest tokens at its position with
    theirs.
    """

    text: str
    logprob: float
    likeliest: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that were answered together; a run resumes after whole batches."""

    number: int
    """Position in the plan, which depends on the whole request list."""
    indices: tuple[int, ...]
    """Which requests of the list, in the order of `completions`."""
    completions: tuple[Completion, ...]
    facts: tuple[PromptFacts, ...] = ()
    """For each request, in the same order; empty if unknown."""


@runtime_checkable
class Model(Protocol):
    """Anything that answers requests."""

    name: str

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Answers the whole list batch by batch. The plan depends only on the whole list, so
        skipping the batches in `done` does not change the others.
        """
        ...

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the order of the requests."""
        ...

    def stream(self, request: Request) -> Iterator[str]:
        """The answer to one request, in parts as they are generated."""
        ...

    def render_text(self, messages: Sequence[Message]) -> str:
        """The prompt for these messages, verbatim."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Number of tokens of the prompt for these messages."""
        ...

    @property
    def context(self) -> int:
        """Maximum tokens of a prompt and its answer together."""
        ...


class TrainableModel(Model, Protocol):
    """A Model whose weights are in this process, so that the training loop can change them."""

    module: Any
    """The transformers model, in evaluation mode."""
    tokenizer: Any
    folder: Path | None
    """The folder that both were loaded from."""


class LearningModel(Model, Protocol):
    """A Model with its own way of learning rows."""

    def learn(self, rows: Sequence[Example], folder: Path) -> tuple[str, str]:
        """Writes an adapter that gives the rows' answers to `folder`. Returns a sentence and a note
        for the report.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of an Assistant, with all measurements of it."""

    id: str
    text: str
    value: Any
    """The parsed answer: a label, a JSON value, a mapping of fields, or the text itself."""
    keeps_contract: bool | None
    """Whether the answer keeps the contract; None without a contract."""
    failures: tuple[str, ...]
    """Kinds of contract failure, e.g. "missing field: Ages"."""
    confidence: float | None
    """Probability that the label, the labels of all questions or, with `handover:`, the text is
    right, else None; that of labels is recalibrated if that helped on dev.
    """
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    seconds: float
    truncated: bool
    """Whether the length limit stopped it."""
    shots_dropped: int = 0
    """Shots left out of the prompt, which would not have fitted the model's context."""
    citations: tuple[str, ...] = ()
    """Names of the passages in the prompt, the best first: file, and heading or record."""
    handed_over: bool = False
    """A person must decide. Without a `limit`, the text is the answer that is too uncertain."""
    limit: str = ""
    """Name of the limit that turned the question away; the text is the limit's sentence."""
    stated_confidence: float | None = None
    """The probability as the model gave it, if `confidence` is recalibrated."""
    confidences: Mapping[str, float] = field(default_factory=dict)
    """With several questions: the name of each -> the probability of its answer, like
    `confidence`.
    """
    nearness: float | None = None
    """The Request's: how near the question is to the training questions, 0 to 1."""
    signals: Mapping[str, float] = field(default_factory=dict)
    """Numbers from which the confidence in a text is computed; more of each means that it is more
    likely right.
    """
    sentence: str = ""
    """What is said instead of the text, because the answer is handed over."""

    @property
    def shown(self) -> str:
        """The text for the person who asked."""
        return self.sentence or self.text

    @property
    def handover_score(self) -> float | None:
        """What hand-over looks at: the confidence; for a label, times the root of its nearness if
        known (LOG.md).
        """
        if self.confidence is None or self.nearness is None or self.signals:
            return self.confidence
        return self.confidence * float(self.nearness**0.5)


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of one answer."""

    value: float
    """The headline metric's score of this row, 0 to 1 (for macro-F1: 1 if the label is right)."""
    keeps_contract: bool | None
    """Whether the answer keeps the contract; None without a contract."""
    check: float | None
    """Result of the task's check function, 0 to 1."""
    other_metrics: Mapping[str, float] = field(default_factory=dict)
    """Further metrics, which are reported but do not affect the verdict."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its uncertainty."""

    value: float
    low: float
    high: float
    n: int
    """Number of independent units: groups if rows are grouped, else rows."""


@dataclass(frozen=True, slots=True)
class PricedCost:
    """The cost of one request, on average over the test rows."""

    prompt_tokens: float = 0.0
    """Including cached ones."""
    cached_tokens: float = 0.0
    answer_tokens: float = 0.0
    seconds: float = 0.0
    price: float | None = None
    """In the unit of the task's prices; None without prices."""


@dataclass(frozen=True, slots=True)
class MethodPair:
    """Method a minus method b, with a simultaneous interval over all pairs."""

    a: str
    b: str
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Preference:
    """One input with a chosen and a rejected answer. If a single answer was rated, the other one is
    "".
    """

    id: str
    input: tuple[Message, ...]
    """As in Example."""
    chosen: str
    rejected: str
    location: str = ""
    """`file:line` of the row."""

    @property
    def text(self) -> str:
        return join_turns(self.input)


Column = Literal["input", "output"]
"""The two texts of a row."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Text of one row that shows what a finding is about."""

    row: str
    """Id of the row; "" if the row could not be read."""
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
    """Ids of the rows; the worst first if they are ranked."""
    message: str
    """The finding as a sentence."""
    remedy: str
    """What to do, as a sentence."""
    locations: tuple[str, ...] = ()
    """`file:line` of each row, in the order of `rows`; also of rows that could not be read."""
    subjects: tuple[str, ...] = ()
    """What is wrong in each row, in the order of `rows`, such as a field; empty if the kind is
    enough.
    """
    excerpts: tuple[Excerpt, ...] = ()
    """Passages of some of the rows."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Name -> count or estimate."""
    fix: str = ""
    """The automatic repair; "" if only a person can decide."""
    other_kinds: tuple[str, ...] = ()
    """Further kinds of finding in the same rows, merged into this one."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Weights: a name as in the task file, and the folder of an adapter over them."""

    name: str
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class SearchRef:
    """A saved index of passages: its folder, and a hash of everything that affects its results."""

    folder: Path
    fingerprint: str
