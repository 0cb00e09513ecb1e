"""What a task file says, as frozen values."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from etude.task.check_function import CheckRef
from etude.task.contract import Contract
from etude.task.endpoint import Endpoint, Prices
from etude.types import Kind

MetricName = Literal["accuracy", "macro_f1", "exact_match", "passes", "chrf", "token_f1", "sari", "calls"]

EvidenceLevel = Literal["one_run", "full"]
FactsChange = Literal["never", "yearly", "monthly", "daily"]

METHOD_NAMES = (
    *("baseline", "prompt", "clear_prompt", "few_shot", "similar_shot", "retrieval", "constrained"),
    *("fine_tune_encoder", "fine_tune", "fine_tune_retrieval", "prefer"),
)
"""The methods of this version, lowest method first. Each is the `METHOD` of methods/NAME.py."""

VERDICT_KEYS = (
    *("metric", "check", "methods", "margin", "target", "usage", "prices", "budget", "evidence", "judge"),
    "documents",  # which no method reads yet
    *("handover", "suite", "gates"),
)
"""Keys that say how methods are compared and judged; what a method fits depends on none of them unless it says so."""

ROW_TOKENS = 2048
"""Tokens of a row above which training refuses it, unless the task sets `train: {max_tokens: ...}`."""

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t"}
"""Suffix of a table -> what separates its values."""
PACKED_SUFFIXES = (".parquet", ".xlsx")
"""Suffixes of tables that are no text."""


def is_row_file(path: Path) -> bool:
    """Whether a path is, by its suffix, a file of rows."""
    return path.suffix.lower() in (*JSON_SUFFIXES, *TABLE_SUFFIXES, *PACKED_SUFFIXES)


def row_files(folder: Path) -> str:
    """The files of rows in a folder, as a shell takes them and as the end of a sentence; "" when there are none."""
    found = (
        [shlex.quote(str(path)) for path in sorted(folder.iterdir()) if is_row_file(path)]
        if folder.is_dir()
        else []
    )
    more = f" or one of {len(found) - 5} more" if len(found) > 5 else ""
    return " or ".join(found[:5]) + more


@dataclass(frozen=True)
class RowSource:
    """A file of rows and which columns mean what; a column that is not named is guessed by its name."""

    file: Path
    input: tuple[str, ...] = ()
    """Columns that make the input together, joined by a blank line."""
    output: str | None = None
    system: str | None = None
    messages: str | None = None
    """A column that holds a whole chat, in place of input and output."""
    id: str | None = None
    references: tuple[str, ...] = ()
    group: str | None = None
    tags: tuple[str, ...] = ()
    source: str | None = None
    """The document that an answer was written from."""


@dataclass(frozen=True)
class Usage:
    """What the user knows about the use to come; None where nothing was said."""

    requests_per_month: float | None = None
    facts_change: FactsChange | None = None


@dataclass(frozen=True)
class Judge:
    """A model that judges answers by a rubric."""

    endpoint: Endpoint
    rubric: str
    labels: Path | None = None
    """Answers that people have judged, with what they said."""


@dataclass(frozen=True)
class Remote:
    """Documents that `etude index` fetches and keeps in `kept`. One of `urls`, `sitemap` and `sql` is given."""

    kept: Path
    urls: tuple[str, ...] = ()
    sitemap: str | None = None
    sql: str | None = None
    url: str | None = None
    """The environment variable that holds the address of the database, as SQLAlchemy writes it."""
    pages: int = 1000
    """At most this many pages of a sitemap."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One sentence under `gates:`."""

    measure: str
    relation: Literal[">=", "<=", "="]
    limit: float
    """A share from 0 to 1; a difference to the base if `of_base`; a count after `=`."""
    of_base: bool
    text: str
    """As it was written."""


@dataclass(frozen=True)
class Task:
    """What a right answer is, and how the comparison is to be run. Made by `load_task`."""

    name: str
    kind: Kind
    model: str
    """Hub id, folder, .gguf file, packaged weights or the name of an endpoint; a path of the task's folder is absolute.
    "" where none is needed or named."""
    examples: RowSource
    folder: Path
    """Folder of the task file."""
    file: Path
    prompt_model: str | None = None
    """A bigger model for the untuned methods."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    """Those of `model` and `prompt_model` that are endpoints, and the judge's, by their names."""
    test: RowSource | None = None
    documents: Path | None = None
    """What the retrieving methods look things up in: a folder or a file; the folder of what is fetched."""
    remote: Remote | None = None
    """What `etude index` fetches into it."""
    preferences: Path | None = None
    """A file of better and worse answers, which prefer learns."""
    encoder: str | None = None
    """The encoder for search by meaning: a name as for `model`, or "none"; None for the packaged one."""
    instructions: str = ""
    own_system: bool = False
    """Whether the rows hold the instructions as their own system message; known once they are read."""
    wordings: tuple[str, ...] = ()
    """The user's own alternatives to the instructions."""
    contract: Contract | None = None
    check: CheckRef | None = None
    metric: MetricName | None = None
    methods: tuple[str, ...] = METHOD_NAMES
    """In the order of the ladder."""
    margin: float = 0.02
    target: float | None = None
    budget_seconds: float | None = None
    """Wall clock of a comparison; None is no limit."""
    judge: Judge | None = None
    """It judges answers beside the metric."""
    evidence: EvidenceLevel = "one_run"
    """`full`: also a learning curve and further training runs of the best tuned method."""
    usage: Usage = Usage()
    prices: Prices | None = None
    seed: int = 0
    train: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the automatic settings of training, by the names of settings.py."""
    max_tokens: int | None = None
    """At most this many tokens an answer; None is chosen from the examples."""
    handover: float | None = None
    """At most this share of what a classifier answers may be wrong; it hands over the rest."""
    suite: Path | None = None
    """The user's own behaviour tests."""
    gates: tuple[Gate, ...] = ()
    """What must hold in `etude test`."""
    notes: tuple[str, ...] = ()
    """What the user should know about how the task was read."""

    @property
    def row_tokens(self) -> int:
        """Tokens of a row above which training refuses it."""
        return int(self.train.get("max_tokens", ROW_TOKENS))
