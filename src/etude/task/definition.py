"""The contents of a task file, as frozen values."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from etude.task.check_function import CheckRef
from etude.task.contract import Contract
from etude.task.endpoint import Endpoint, Prices
from etude.task.questions import join_answers, split_answers, tidy_answers
from etude.task.tool_class import ToolRef
from etude.text.label_lists import join_labels, read_label, split_labels
from etude.types import Act, Kind, TaskQuestion

MetricName = Literal[
    "accuracy",
    "macro_f1",
    "kappa",
    "sample_f1",
    "subset_accuracy",
    "micro_f1",
    "question_mean",
    "value_f1",
    "exact_match",
    "passes",
    "chrf",
    "token_f1",
    "sari",
    "calls",
]

EvidenceLevel = Literal["one_run", "full"]
Engine = Literal["local", "llama_cpp"]
FactsChange = Literal["never", "yearly", "monthly", "daily"]
Turns = Literal["last", "all"]

# The methods of this version, lowest method first. Each is the `METHOD` of methods/NAME.py.
METHOD_NAMES = (
    *(
        "baseline",
        "decide",
        "prompt",
        "clear_prompt",
        "searched_prompt",
        "few_shot",
        "similar_shot",
    ),
    *("retrieval", "constrained"),
    *("tag", "fine_tune_encoder", "fine_tune", "fine_tune_retrieval", "prefer"),
)

# Maximum number of tokens of a training row, unless the task sets `train: {max_tokens: ...}`.
ROW_TOKENS = 2048

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t"}  # suffix of a table -> separator of its values
BINARY_SUFFIXES = (".parquet", ".xlsx")  # suffixes of tables in binary formats


def is_row_file(path: Path) -> bool:
    """Whether a path has the suffix of a file of rows."""
    return path.suffix.lower() in (*JSON_SUFFIXES, *TABLE_SUFFIXES, *BINARY_SUFFIXES)


def _begins_list(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return stream.read(1_000).lstrip().startswith("[")
    except (OSError, ValueError):
        return False


def format_row_files(folder: Path) -> str:
    """List the files of rows in a folder, quoted for a shell, as the end of a sentence; "" if there
    are none.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    # Many folders hold .json files of settings; rows are a list.
    files = [
        shlex.quote(str(path))
        for path in paths
        if is_row_file(path) and (path.suffix.lower() != ".json" or _begins_list(path))
    ]
    more = f" or one of {len(files) - 5} more" if len(files) > 5 else ""
    return " or ".join(files[:5]) + more


@dataclass(frozen=True)
class RowSource:
    """A file of rows and the roles of its columns; roles without a column are guessed by name."""

    file: Path
    input: tuple[str, ...] = ()
    """Columns that are joined into the input, separated by a blank line."""
    output: str | None = None
    system: str | None = None
    messages: str | None = None
    """A column of whole chats, instead of input and output."""
    id: str | None = None
    references: tuple[str, ...] = ()
    group: str | None = None
    tags: tuple[str, ...] = ()
    source: str | None = None
    """The document that an answer was written from."""
    answers: tuple[str, ...] = ()
    """Columns with stored answers of other models. A column with an object has one answer under
    each key.
    """
    skip_empty: bool = False
    """Whether rows without an input or an output are left out; otherwise they are errors."""
    several: bool = False
    """Whether an answer is a list of labels; the task's key `several` sets it."""
    labels: tuple[str, ...] = ()
    """The labels of a scale, or of lists; by them, cells such as `1.0` or `food, hot` are read."""
    questions: tuple[TaskQuestion, ...] = ()
    """The questions that a row answers. Their columns are read unless there is an output or a chat,
    whose answer is then a JSON object.
    """

    @property
    def answer_columns(self) -> tuple[str, ...]:
        """The columns of the questions; empty if the answers are one JSON object."""
        return (
            ()
            if self.output or self.messages
            else tuple(question.column for question in self.questions)
        )

    def tidy(self, output: str) -> str:
        """Return an answer in the form in which answers are compared, if it is a score, a list of
        labels, or answers to several questions.
        """
        if self.questions:
            return tidy_answers(output, self.questions)
        if self.several:
            return join_labels(split_labels(output, self.labels))
        return read_label(output, self.labels) if self.labels else output


@dataclass(frozen=True)
class Usage:
    """How the assistant will be used; None if unknown."""

    requests_per_month: float | None = None
    facts_change: FactsChange | None = None


@dataclass(frozen=True)
class Handover:
    """Which answers are handed over to a person."""

    wrong: float | None = None
    """Maximum share of wrong answers among the others; None to hand over nothing."""
    right: float = 1.0
    """The score from which on an answer is right."""
    say: str = ""
    """What is said instead of an answer that is handed over; "" to say the answer."""
    unanswerable: str = ""
    """The answer of rows whose question cannot be answered from the documents."""

    def is_unanswerable(self, answer: str) -> bool:
        """Whether an answer says that the documents have none. Case, white space and the last sign
        are ignored.
        """
        return bool(self.unanswerable) and _simplify(answer) == _simplify(self.unanswerable)


def _simplify(sentence: str) -> str:
    return " ".join(sentence.casefold().split()).rstrip(".!")


@dataclass(frozen=True)
class ErrorCosts:
    """Costs of wrong answers and hand-overs, in a unit of the user's choice. A right answer costs
    nothing.
    """

    wrong: float = 1.0
    """Cost of a wrong answer whose label is not in `labels`."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """Answered label -> cost if the answer is wrong."""
    handover: float | None = None
    """Cost of a question that is handed over to a person; None if costs do not decide what is
    handed over.
    """

    def price_wrong(self, label: str) -> float:
        """Return the cost of this answer if it is wrong."""
        return self.labels.get(label, self.wrong)


@dataclass(frozen=True)
class JudgeSettings:
    """A model that judges answers by a rubric."""

    endpoint: Endpoint
    rubric: str
    labels: Path | None = None
    """A file of answers that people have labelled."""


_GATE = re.compile(
    r"(?P<measure>[^<>=]*?[^<>=\s])\s*(?P<relation>>=|<=)\s*"
    r"(?:(?P<base>base)\s*(?:(?P<sign>[+-])\s*)?)?(?:(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|points?)?)?\s*"
)
GATE_EXAMPLES = "contract >= 98%, over_refusal <= base + 2 points"


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition that an assistant must meet before its release: one sentence under `gates:`."""

    measure: str
    relation: Literal[">=", "<="]
    limit: float
    """A share from 0 to 1; a difference to the base if `is_relative`."""
    is_relative: bool
    text: str


def parse_gate(sentence: str) -> Gate | None:
    """Parse a sentence such as `over_refusal <= base + 2 points`; None if it is not a gate."""
    match = _GATE.fullmatch(sentence.strip())
    if match is None or (match["number"] is None and match["base"] is None):
        return None
    if match["base"] and match["number"] and not match["sign"]:
        return None
    number = float(match["number"] or 0) / (100 if match["unit"] else 1)
    if number > 1:
        return None
    limit = -number if match["sign"] == "-" else number
    is_relative = match["base"] is not None
    text = " ".join(sentence.split())
    return Gate(match["measure"], match["relation"], limit, is_relative, text)  # type: ignore[arg-type]


LIMIT_ACTS: Mapping[str, Act] = {
    "danger": "hand_over",
    "subjects": "refuse",
    "out_of_scope": "refuse",
    "to_person": "hand_over",
    "refused": "refuse",
}
"""Name of a limit -> the act of the assistant."""
CLAUSE_LIMITS = ("danger", "subjects")
"""Limits that are judged clause by clause, before the others."""
SUBJECT_SENTENCE = "I cannot help with that."


@dataclass(frozen=True)
class Limit:
    """Questions that an assistant does not answer, and the sentence that it says instead."""

    name: str
    say: str
    examples: tuple[str, ...] = ()
    """Questions; of `subjects`, the names of the subjects."""
    weights: tuple[float, ...] = ()
    """Of a fitted `danger`: weights of a clause's vector, and the intercept; a sum of at least 0 is
    danger.
    """


@dataclass(frozen=True)
class Task:
    """What a right answer is, and how methods are compared. `load_task` creates it."""

    name: str
    kind: Kind
    model: str
    """Hub id, folder, .gguf file, packaged weights or the name of an endpoint; paths are absolute.
    "" for none.
    """
    examples: RowSource
    folder: Path
    """Folder of the task file."""
    file: Path
    prompt_model: str | None = None
    """A bigger model for the untuned methods."""
    reflect_with: str | None = None
    """The model that writes instructions for searched_prompt; None for the prompt_model."""
    searched_prompt: Mapping[str, Any] = field(default_factory=dict)
    """`calls`: the most requests of the search for instructions."""
    decision_model: str | None = None
    """The name of an endpoint for typed questions."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    """Name -> endpoint, of `model`, `prompt_model`, `reflect_with`, `decision_model` and the
    judge.
    """
    test: RowSource | None = None
    made_rows: RowSource | None = None
    """Rows that a model wrote; they are only trained on."""
    documents: Path | None = None
    """Folder or file that the retrieving methods search."""
    preferences: Path | None = None
    """A file of chosen and rejected answers for the method prefer."""
    encoder: str | None = None
    """The encoder of semantic search: a name as for `model`, or "none"; None for the packaged
    one.
    """
    instructions: str = ""
    own_system: bool = False
    """Whether the instructions are the rows' own system message; known once the rows are read."""
    row_systems: bool = False
    """Whether single rows have a system message or functions of their own; known once the rows are
    read.
    """
    wordings: tuple[str, ...] = ()
    """The user's own alternatives to the instructions."""
    contract: Contract | None = None
    several: bool = False
    """Whether a row has a list of any number of labels."""
    turns: Turns = "last"
    """Which answers of a conversation are scored: the last one, or each as a question with the
    turns before it.
    """
    scale: tuple[str, ...] = ()
    """The labels from the lowest to the highest, if they are scores with equal steps."""
    questions: tuple[TaskQuestion, ...] = ()
    """The questions that every row answers, instead of one label."""
    check: CheckRef | None = None
    tools: ToolRef | None = None
    """The user's class whose methods an assistant may call; `etude play` runs the calls."""
    metric: MetricName | None = None
    methods: tuple[str, ...] = METHOD_NAMES
    """In the order of the ladder."""
    margin: float = 0.02
    target: float | None = None
    budget_seconds: float | None = None
    """Wall-clock limit of a comparison; None for no limit."""
    judge: JudgeSettings | None = None
    """Judges answers in addition to the metric."""
    where: str = "local"
    """The workers: this process (local) or those of a Ray cluster; see `cluster.WHERE_SYNTAX`."""
    engine: str = "local"
    """What computes the answers of weights on this machine: an Engine, or the name of an endpoint
    after `served:`.
    """
    evidence: EvidenceLevel = "one_run"
    """`full` adds a learning curve and further training runs of the best tuned method."""
    usage: Usage = Usage()
    prices: Prices | None = None
    seed: int = 0
    train: Mapping[str, Any] = field(default_factory=dict)
    """Values that override automatic settings of training; the names are in settings.py."""
    max_tokens: int | None = None
    """Maximum tokens of an answer; None to choose from the examples."""
    handover: Handover | None = None
    """Which answers are handed over."""
    costs: ErrorCosts | None = None
    """If set, expected costs decide between methods and what is handed over."""
    limits: tuple[Limit, ...] = ()
    """What the assistant does not answer."""
    suite: Path | None = None
    """The user's own behaviour tests."""
    gates: tuple[Gate, ...] = ()
    """Conditions that `etude test` checks."""
    notes: tuple[str, ...] = ()
    """Notes for the user on how the task was read."""

    @property
    def reflector(self) -> str | None:
        return self.reflect_with or self.prompt_model

    @property
    def hands_over(self) -> bool:
        """Whether unsure answers are handed over, to keep to a share of wrong answers or by their
        costs.
        """
        return bool((self.handover and self.handover.wrong) or (self.costs and self.costs.handover))

    @property
    def scope_limits(self) -> tuple[Limit, ...]:
        return tuple(limit for limit in self.limits if limit.name not in CLAUSE_LIMITS)

    @property
    def clause_limits(self) -> tuple[Limit, ...]:
        return tuple(limit for limit in self.limits if limit.name in CLAUSE_LIMITS)

    @property
    def has_one_label(self) -> bool:
        return self.kind == "classify" and not (self.several or self.questions)

    def list_labels(self, output: str) -> tuple[str, ...]:
        """List the labels of a right answer of a classification: one, or with `several` any number.
        Those of several questions are JSON objects of one question and its label.
        """
        if self.questions:
            return tuple(
                join_answers({name: label}) for name, label in split_answers(output).items()
            )
        return split_labels(output) if self.several else (output.strip(),)

    def split_questions(self) -> dict[str, "Task"]:
        """Return the name of each question -> a task with one label per row that has only this
        question.
        """
        contract = self.contract or Contract()
        return {
            question.name: replace(
                self,
                instructions=question.ask or self.instructions,
                contract=replace(
                    contract,
                    labels=question.labels,
                    descriptions=question.descriptions,
                    json_schema=None,
                ),
                scale=question.labels if question.is_score else (),
                questions=(),
                metric=None,
            )
            for question in self.questions
        }

    @property
    def row_tokens(self) -> int:
        return int(self.train.get("max_tokens", ROW_TOKENS))
