"""All checks over one set of rows: read once, check in order, gather what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from etude.checks.kinds import SEVERITIES, names
from etude.checks.labels import neighbours
from etude.checks.labels import wrong_labels as labels
from etude.checks.language import replies
from etude.checks.language import wrong_language as language
from etude.checks.material import Material
from etude.checks.records import fields
from etude.checks.rows import document_coverage as documents
from etude.checks.rows import empty as nothing
from etude.checks.rows import endings, enough, form, preferences, proposal, repeats, unknown_model
from etude.checks.rows import label_coverage as coverage
from etude.checks.rows import unreadable as unread
from etude.checks.safety import advice, hostile, injections, instructions, personal, refusals, review
from etude.checks.style import field_orders as orders
from etude.checks.style import registers
from etude.checks.style import split_style as style
from etude.checks.style import two_lengths as lengths
from etude.data.dataset import Survey, survey_dataset, survey_test
from etude.repair import stand_ins
from etude.task import Task, load_task
from etude.types import Finding

Check = Callable[[Material], Iterator[Finding]]
"""Looks at the rows and yields what it finds; a check of your own is one function too."""

CHECKS: tuple[Check, ...] = (
    unread.unread,
    unknown_model.unknown_models,
    nothing.empty,
    endings.truncated,
    form.encoding,
    form.markup,
    form.placeholders,
    form.echoes,
    refusals.refusals,
    language.wrong_language,
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
    repeats.templates,
    labels.wrong_labels,
    fields.doubtful_fields,
    neighbours.unlike_neighbours,
    style.split_style,
    lengths.two_lengths,
    orders.field_orders,
    registers.mixed_registers,
    proposal.proposed_contract,
    personal.personal_data,
    instructions.personal_instructions,
    review.for_review,
    injections.injections,
    hostile.insults,
    hostile.threats,
    advice.advice,
    coverage.written_otherwise,
    coverage.classes,
    documents.uncovered_documents,
    enough.few_rows,
)
"""The checks, in the order in which they run."""


@dataclass(frozen=True)
class Findings:
    """What the checks of one task found, the gravest first."""

    name: str
    """Of the task."""
    files: tuple[Path, ...]
    """The file of examples and, where there is one, that of the test."""
    folder: Path
    """Of the task file."""
    rows: int
    test_rows: int
    found: tuple[Finding, ...]

    @property
    def file(self) -> str:
        """Name of the file of examples."""
        return self.files[0].name

    def path_of(self, file: str) -> Path:
        """The file that a place of a finding names, as a path; of two with one name the examples."""
        named = (path for path in self.files if path.name == file)
        return next(named, self.folder / file)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def of(self, *kinds: str) -> tuple[Finding, ...]:
        """The findings of these kinds, or that tell of one of them too."""
        return tuple(one for one in self.found if not {one.kind, *one.also}.isdisjoint(kinds))

    def failing(self, gates: Sequence[str]) -> tuple[Finding, ...]:
        """The findings that a gate names: by their kind (`*` for any letters), or by a
        severity as grave or graver."""
        return tuple(finding for finding in self.found if any(_fails(finding, gate) for gate in gates))


def check(task_file: Path | str, checks: Sequence[Check] = CHECKS) -> Findings:
    """Checks the examples of a task, and its own test file where it names one, for what they share.

    Rows that cannot be read are findings, not errors. Raises InputError for faults of the task file and
    where no row can be read.
    """
    return check_material(read_material(load_task(task_file, needs_model=False)), checks)


def read_material(task: Task, survey: Survey | None = None) -> Material:
    """Reads the task's rows once, for all checks; its examples only where no `survey` of them was made."""
    rows, faults, systems = survey or survey_dataset(task)
    test, test_faults = survey_test(task) or (None, ())
    return Material(task, rows, test, faults, test_faults, stand_ins(task.examples.file), systems)


def check_material(material: Material, checks: Sequence[Check] = CHECKS) -> Findings:
    """Runs the checks over rows that were read."""
    task = material.task
    found = list(chain.from_iterable(each(material) for each in checks))
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Findings(
        name=task.name,
        files=tuple(source.file for source in (task.examples, task.test) if source),
        folder=task.folder,
        rows=len(material.rows),
        test_rows=len(material.test or ()),
        found=tuple(found),
    )


def _fails(finding: Finding, gate: str) -> bool:
    if gate in SEVERITIES:
        return SEVERITIES.index(finding.severity) <= SEVERITIES.index(gate)
    return any(names(gate, kind) for kind in (finding.kind, *finding.also))
