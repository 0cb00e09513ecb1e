"""The list of checks, and their findings in one set of rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import SupportsIndex, overload

from etude.base.formatting import format_html_table
from etude.base.issues import suggest_instead
from etude.checks.kinds import SEVERITIES, Check, FindingKind
from etude.checks.labels import wrong_labels
from etude.checks.language import wrong_language
from etude.checks.material import Material
from etude.checks.records import unsupported_fields
from etude.checks.rows import endings, repeats, single_rows, unreadable, whole_set
from etude.checks.safety import personal, phrases
from etude.checks.style import split_style
from etude.cluster import THIS_PROCESS, Workers, open_workers
from etude.data.dataset import Survey, survey_dataset, survey_test
from etude.errors import InputError, Issue, quote_value
from etude.privacy.mask.surrogate_log import read_surrogates
from etude.task import Task, load_task
from etude.types import Finding

CHECKS: tuple[Check, ...] = (
    unreadable.check_unreadable,
    single_rows.check_empty,
    endings.check_truncated,
    single_rows.check_encoding,
    single_rows.check_markup,
    single_rows.check_placeholders,
    single_rows.check_echoes,
    phrases.check_refusals,
    wrong_language.check_language,
    wrong_language.check_answer_language,
    single_rows.check_length,
    repeats.check_contradictions,
    repeats.check_near_contradictions,
    repeats.check_repeated_inputs,
    repeats.check_near_duplicates,
    repeats.check_repeated_outputs,
    repeats.check_test_overlap,
    repeats.check_test_answers,
    wrong_labels.check_wrong_labels,
    unsupported_fields.check_unsupported,
    split_style.check_style,
    personal.check_personal_data,
    personal.check_instructions,
    personal.check_review,
    phrases.check_injections,
    phrases.check_insults,
    phrases.check_threats,
    phrases.check_advice,
    whole_set.check_label_spelling,
    whole_set.check_few_rows,
)  # in the order in which they run; a new check is its function and a line here


def collect_kinds(checks: Iterable[Check]) -> Mapping[str, FindingKind]:
    """Map the name of each kind that the checks can find to the kind."""
    kinds = [kind for check in checks for kind in check.kinds]
    return {kind.name: kind for kind in reversed(kinds)}


KINDS = collect_kinds(CHECKS)


@dataclass(frozen=True)
class Findings(Sequence[Finding]):
    """The findings of all checks of one task, the most severe first."""

    name: str
    file: str
    rows: int
    test_rows: int
    items: tuple[Finding, ...]
    kinds: Mapping[str, FindingKind] = field(default_factory=lambda: KINDS)
    """The kinds that the checks can find, by name."""

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Finding | tuple[Finding, ...]:
        return self.items[index]

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return format_html_table(
            [(item.severity, item.kind, item.message, item.remedy) for item in self.items]
        )

    def select_kinds(self, *kinds: str) -> tuple[Finding, ...]:
        """Return the findings with one of these kinds, as their kind or among their other kinds."""
        return tuple(
            item for item in self.items if not {item.kind, *item.other_kinds}.isdisjoint(kinds)
        )

    def select_failing(self, gates: Sequence[str]) -> tuple[Finding, ...]:
        """Return the findings of a gate: a kind (`*` matches any letters), or a severity and more
        severe ones.
        """
        severities = {
            name
            for gate in gates
            if gate in SEVERITIES
            for name in SEVERITIES[: SEVERITIES.index(gate) + 1]
        }
        return tuple(
            item
            for item in self.items
            if item.severity in severities
            or any(
                fnmatchcase(kind, gate) for gate in gates for kind in (item.kind, *item.other_kinds)
            )
        )


def check(
    task_file: Path | str, checks: Sequence[Check] = CHECKS, *, on: str | None = None
) -> Findings:
    """Check the examples of a task and, if it has a test file, their overlap with the test.

    Rows that cannot be read are findings, not errors. Raises InputError for errors in the task file
    and if no row can be read. `on` (default: the task's `where`) is local, or a Ray cluster whose
    workers do what is computed row by row; the findings are the same.
    """
    task = load_task(task_file, needs_model=False)
    with open_workers(on or task.where) as workers:
        return check_material(load_material(task, workers=workers), checks)


def load_material(
    task: Task, survey: Survey | None = None, workers: Workers = THIS_PROCESS
) -> Material:
    """Load the rows of a task once for all checks; a `survey` of its examples saves reading them
    again.
    """
    survey = survey or survey_dataset(task)
    test, test_issues = survey_test(task) or (None, ())
    surrogates = read_surrogates(task.examples.file)
    return Material(
        task, survey.rows, test, survey.issues, test_issues, surrogates, survey.systems, workers
    )


def check_material(
    material: Material,
    checks: Sequence[Check] = CHECKS,
    on_start: Callable[[str], None] = lambda name: None,
) -> Findings:
    """Run the checks over loaded rows; `on_start` gets the number and the name of each check when
    it starts.
    """
    task = material.task
    findings: list[Finding] = []
    for number, item in enumerate(checks, start=1):
        on_start(f"Check {number} of {len(checks)}, {item.name.replace('_', ' ')}")
        findings += item(material)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Findings(
        name=task.name,
        file=task.examples.file.name,
        rows=len(material.rows),
        test_rows=len(material.test or ()),
        items=tuple(findings),
        kinds=collect_kinds(checks),
    )


def validate_gates(gates: Sequence[str]) -> None:
    """Raise InputError, with the nearest name, for gates that match no severity or kind and so
    could never fail.
    """
    names = [*SEVERITIES, *KINDS]
    issues = []
    for gate in gates:
        if any(fnmatchcase(name, gate) for name in names):
            continue
        pieces = [name.strip() for name in gate.split(",") if name.strip()]
        separate = "use one flag for each: " + " ".join(f"--fail-on {name}" for name in pieces)
        remedy = separate if len(pieces) > 1 else suggest_instead(gate, names)
        issues.append(
            Issue("--fail-on", "no such kind or severity of finding", quote_value(gate), remedy)
        )
    if issues:
        raise InputError(issues)
