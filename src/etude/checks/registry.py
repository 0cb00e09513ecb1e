"""The list of checks; runs them over one set of rows and collects their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etude.base.remedies import instead
from etude.checks.labels import wrong_labels
from etude.checks.language import replies, wrong_language
from etude.checks.material import Material
from etude.checks.record import SEVERITIES, Check, FindingKind, names
from etude.checks.records import fields
from etude.checks.rows import (
    empty,
    endings,
    enough,
    form,
    label_coverage,
    preferences,
    repeats,
    unknown_model,
    unreadable,
)
from etude.checks.safety import instructions, insults, personal, phrases, refusals, review
from etude.checks.style import split_style
from etude.data.dataset import Survey, survey_dataset, survey_test
from etude.errors import InputError, Issue, quote_value
from etude.repair import stand_ins
from etude.task import Task, load_task
from etude.types import Finding

CHECKS: tuple[Check, ...] = (
    unreadable.unread,
    unknown_model.unknown_models,
    empty.empty,
    endings.truncated,
    form.encoding,
    form.markup,
    form.placeholders,
    form.echoes,
    refusals.refusals,
    wrong_language.wrong_language,
    replies.answered_otherwise,
    form.too_long,
    repeats.contradictions,
    repeats.near_contradictions,
    preferences.preferences,
    repeats.repeated_inputs,
    repeats.near_repeats,
    repeats.repeated_outputs,
    repeats.test_overlap,
    repeats.test_answers,
    wrong_labels.wrong_labels,
    fields.unsupported_fields,
    split_style.split_style,
    personal.personal_data,
    instructions.personal_instructions,
    review.for_review,
    phrases.injections,
    insults.insults,
    phrases.threats,
    phrases.advice,
    label_coverage.written_otherwise,
    enough.few_rows,
)
"""The checks, in the order in which they run. A new check is its file and a line here."""


def kinds_of(checks: Iterable[Check]) -> Mapping[str, FindingKind]:
    """The kinds of finding of some checks, by name."""
    kinds = [kind for check in checks for kind in check.kinds]
    return {kind.name: kind for kind in reversed(kinds)}


KINDS = kinds_of(CHECKS)


@dataclass(frozen=True)
class Findings:
    """What the checks found in one task, the gravest first."""

    name: str
    """The task's."""
    files: tuple[Path, ...]
    """The file of examples and, if there is one, that of the test."""
    folder: Path
    """The task file's."""
    rows: int
    test_rows: int
    found: tuple[Finding, ...]
    kinds: Mapping[str, FindingKind] = field(default_factory=lambda: KINDS)
    """What the checks that ran can find, by name."""

    @property
    def file(self) -> str:
        """Name of the file of examples."""
        return self.files[0].name

    def path_of(self, file: str) -> Path:
        """The path of a file that a finding names; of two with one name the examples."""
        named = (path for path in self.files if path.name == file)
        return next(named, self.folder / file)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def of(self, *kinds: str) -> tuple[Finding, ...]:
        """The findings of these kinds, or that also report one of them."""
        return tuple(one for one in self.found if not {one.kind, *one.other_kinds}.isdisjoint(kinds))

    def failing(self, gates: Sequence[str]) -> tuple[Finding, ...]:
        """The findings that a gate names: by their kind (`*` for any letters), or by a severity, which includes graver
        ones."""
        return tuple(finding for finding in self.found if any(_fails(finding, gate) for gate in gates))


def check(task_file: Path | str, checks: Sequence[Check] = CHECKS) -> Findings:
    """Check the examples of a task, and what they share with its own test file if it names one.

    Rows that cannot be read are findings, not errors. Raises InputError for errors in the task file and
    if no row can be read.
    """
    return check_material(read_material(load_task(task_file, needs_model=False)), checks)


def read_material(task: Task, survey: Survey | None = None) -> Material:
    """Read the task's rows once, for all checks; its examples only if no `survey` of them was made."""
    rows, faults, systems = survey or survey_dataset(task)
    test, test_faults = survey_test(task) or (None, ())
    return Material(task, rows, test, faults, test_faults, stand_ins(task.examples.file), systems)


def check_material(
    material: Material, checks: Sequence[Check] = CHECKS, begun: Callable[[str], None] = lambda name: None
) -> Findings:
    """Run the checks over rows that were read; `begun` is called with the name of each when it begins."""
    task = material.task
    found: list[Finding] = []
    for each in checks:
        begun(each.name)
        found += each(material)
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Findings(
        name=task.name,
        files=tuple(source.file for source in (task.examples, task.test) if source),
        folder=task.folder,
        rows=len(material.rows),
        test_rows=len(material.test or ()),
        found=tuple(found),
        kinds=kinds_of(checks),
    )


def check_gates(gates: Sequence[str]) -> None:
    """Raise InputError, with the nearest name, for gates that name neither a severity nor a kind: they could never
    fail."""
    known = [*SEVERITIES, *KINDS]
    unknown = [gate for gate in gates if not any(names(gate, kind) for kind in known)]
    if unknown:
        what = "no such kind or severity of finding"
        raise InputError(
            [Issue("--fail-on", what, quote_value(gate), _instead(gate, known)) for gate in unknown]
        )


def _instead(gate: str, known: Sequence[str]) -> str:
    """What to write in place of an unknown gate, also for several joined by commas."""
    parts = [part.strip() for part in gate.split(",") if part.strip()]
    if len(parts) > 1:
        return "give each by itself: " + " ".join(f"--fail-on {part}" for part in parts)
    return instead(gate, known)


def _fails(finding: Finding, gate: str) -> bool:
    if gate in SEVERITIES:
        return SEVERITIES.index(finding.severity) <= SEVERITIES.index(gate)
    return any(names(gate, kind) for kind in (finding.kind, *finding.other_kinds))
