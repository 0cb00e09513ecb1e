"""`etude check --fix` and `--undo`: a new file of examples beside the old one, and the way back row by row.

What a fix would do is a `Proposal`, which is written as a whole, or as far as a person accepts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from etude.base.remedies import instead
from etude.data.dataset import Survey, survey_dataset
from etude.data.formats.columns import as_written
from etude.errors import InputError, Issue, quote_value
from etude.privacy import Masker
from etude.repair.change_log import (
    Change,
    Changes,
    Files,
    FixLog,
    check_ours,
    hash_of,
    log_of,
    read_log,
    stand_ins,
    write_fix,
)
from etude.repair.changes import KINDS, changes
from etude.repair.worklist import corrected_labels
from etude.task import Task, load_task

ALL = "all"
"""In place of rows: every one."""


@dataclass(frozen=True)
class Fixed:
    """What a fix or an undoing has left."""

    files: Files
    log: FixLog
    written: bool
    """Whether anything is written; False where nothing was to be done."""
    survey: Survey | None = None
    """The rows as they were read for a fix; None for an undoing."""
    unwritten: tuple[str, ...] = ()
    """`file:line` of rows that would need a change that the file has no way to write."""
    put_back: Counter[str] = field(default_factory=Counter)
    """Kind of finding -> rows in which it was put right before and, as it is not asked for now, no more is."""

    @property
    def counts(self) -> Counter[str]:
        """Kind of finding -> rows in which it is put right now."""
        return Counter(kind for change in self.log.standing for kind in change.kinds)


@dataclass(frozen=True)
class Proposal:
    """What a fix would do; nothing is written yet."""

    files: Files
    log: FixLog
    """With the changes that were taken back before."""
    before: FixLog | None
    """The log of the fix that is there."""
    masker: Masker | None
    """The surrogates, if there are new ones."""
    survey: Survey
    unwritten: tuple[str, ...] = ()

    @property
    def accepted(self) -> frozenset[int]:
        """Positions of the changes that stand in the fixed file."""
        if self.before is None:
            return frozenset()
        keys = dict.fromkeys(_by_line(self.before.standing))
        return frozenset(n for n, key in enumerate(_by_line(self.log.changes)) if key in keys)


def fix(task: Task | Path | str, only: Sequence[str] = (), worklist: Path | None = None) -> Fixed:
    """Writes the examples of a task, or of the task in a file, put right where that needs no judgement, beside them.

    With a `worklist` that somebody has filled in the labels that it corrects too; a later fix keeps them.
    `only` names kinds of finding; all of `KINDS` by default. What was taken back before stays so. The file of
    examples, the test and the task file are not written to. Raises InputError for unknown kinds, for examples that
    cannot be read, and where the new file is there and is not a fix's; OSError where it cannot be written.
    """
    made = propose(task, only, worklist)
    files, log = made.files, made.log
    if not log.changes and made.before is None:
        return Fixed(files, log, False, made.survey, made.unwritten)
    written = _written(files, log, made.masker)
    return Fixed(files, written, True, made.survey, made.unwritten, _put_back(made.before, only))


def accept(made: Proposal, positions: Collection[int], note: str) -> Proposal:
    """Writes the fixed file with the proposed changes at these positions and no others; `note` says in the log who
    accepted those that were not there before, and when. Returns the proposal as it stands then.

    Raises InputError if the examples were changed since, or the fixed file by somebody else.
    """
    check_ours(made.files, read_log(made.files.log))
    if hash_of(made.files.source) != made.log.source_hash:
        what = "was changed since it was checked"
        raise InputError([Issue(made.files.source.name, what, "", "check it again")])
    noted, before = Changes(), made.accepted
    for number, change in enumerate(made.log.changes):
        new = number in positions and number not in before
        noted.append(replace(change, note=note) if new else change)
    undone = frozenset(range(len(noted))).difference(positions)
    log = _written(made.files, replace(made.log, changes=noted, undone=undone), made.masker)
    return replace(made, log=log, before=log, masker=None)


def propose(task: Task | Path | str, only: Sequence[str] = (), worklist: Path | None = None) -> Proposal:
    """What `fix` would write, with the same arguments and errors."""
    task = task if isinstance(task, Task) else load_task(task, needs_model=False)
    unknown = [kind for kind in only if kind not in KINDS]
    if unknown:
        raise InputError(
            [
                Issue("--only", "nothing to fix by", quote_value(kind), instead(kind, KINDS))
                for kind in unknown
            ]
        )
    files = Files(task.examples.file)
    before = read_log(files.log)
    check_ours(files, before)
    masker = Masker.load_key(files.key) if files.key.exists() else Masker()
    had = len(masker.stand_ins)
    known = stand_ins(files.source)
    survey = survey_dataset(task)
    labels = dict(before.labels) if before else {}
    if worklist:
        rows = {row.id: row for row in survey.rows}
        named = task.contract.labels if task.contract else ()
        labels |= corrected_labels(worklist, rows, named or {row.output for row in rows.values()})
    outcome = changes(task, lambda kind: not only or kind in only, masker, known, survey, labels)
    found = outcome.changes
    unwritten = tuple(f"{files.source.name}:{line}" for line in outcome.unwritten)
    source_hash = hash_of(files.source)
    log = FixLog(
        source=files.source.name,
        source_hash=source_hash,
        stand_ins=tuple(sorted({*known, *masker.stand_ins})),
        labels=labels,
        changes=found,
        undone=_carried_on(found, before, source_hash),
    )
    new = masker if len(masker.stand_ins) > had else None
    return Proposal(files, log, before, new, survey, unwritten)


def _written(files: Files, log: FixLog, masker: Masker | None) -> FixLog:
    """Writes what stands for what, where there is something new, before the rows that hold it. An error leaves no key
    file where there was none."""
    had_key = files.key.exists()
    try:
        if masker:
            masker.save_key(files.key)
        return write_fix(files, log)
    except OSError:
        if not had_key:
            files.key.unlink(missing_ok=True)
        raise


def _carried_on(found: Changes, before: FixLog | None, source_hash: str) -> frozenset[int]:
    """Positions of changes that were taken back before. One that is not found this time, as `only` leaves it out, is
    added to the changes of the same file, so that it is still known next time."""
    if before is None or not before.undone:
        return frozenset()
    same = before.source_hash == source_hash
    keys = _by_line if same else _by_content
    undone = {key: n for n, key in enumerate(keys(before.changes)) if n in before.undone}
    here = {key: n for n, key in enumerate(keys(found)) if key in undone}
    for key, number in undone.items():
        if key not in here and same:
            here[key] = len(found)
            found.append(before.changes[number])
    return frozenset(here.values())


def _by_line(changes: Iterable[Change]) -> Iterator[tuple[str, int]]:
    return ((change.before, change.line) for change in changes)


def _by_content(changes: Iterable[Change]) -> Iterator[tuple[str, int]]:
    """The row, and how many equal ones have been changed before it."""
    seen: Counter[str] = Counter()
    for change in changes:
        yield change.before, seen[change.before]
        seen[change.before] += 1


def _put_back(before: FixLog | None, only: Sequence[str]) -> Counter[str]:
    """Kind that `only` leaves out -> rows in which it was put right before."""
    standing = before.standing if before and only else ()
    return Counter(kind for change in standing for kind in change.kinds if kind not in only)


def undo(task: Task | Path | str, rows: Sequence[str]) -> Fixed:
    """Takes changes back: rows by their id or as FILE:LINE of the file that was fixed, or `all`.

    Works from the task as it was, and from one that names the fixed file. Raises InputError where there is no fix,
    where a row has no change, and where one of the files was changed since.
    """
    files = _files_of(task if isinstance(task, Task) else load_task(task, needs_model=False))
    log = read_log(files.log)
    if log is None:
        fault = Issue(
            files.log.name, "there is no log, so nothing was fixed", "", "run etude check TASK --fix first"
        )
        raise InputError([fault])
    check_ours(files, log)
    if hash_of(files.source) != log.source_hash:
        remedy = "run etude check TASK --fix again; what was taken back before stays so"
        raise InputError([Issue(files.source.name, "was changed since it was fixed", "", remedy)])
    log = replace(log, undone=log.undone | _meant(log, rows))
    return Fixed(files, write_fix(files, log), written=True)


def _files_of(task: Task) -> Files:
    """The files of the fix that the task's examples went through, or came from."""
    here = task.examples.file
    if here.stem.endswith(".fixed") and not Files(here).log.exists():
        log = read_log(log_of(here))
        return Files(here.with_name(log.source)) if log else Files(here)
    return Files(here)


def _meant(log: FixLog, rows: Sequence[str]) -> set[int]:
    """Which changes are meant. Raises InputError for every row that names none."""
    if list(rows) == [ALL]:
        return set(range(len(log.changes)))
    named: dict[str, int] = {}
    for number, change in enumerate(log.changes):
        names = {f"{log.source}:{change.line}", change.row}.intersection(rows)
        named |= dict.fromkeys(names, number)
    unknown = [row for row in rows if row not in named]
    if unknown:
        raise InputError(
            [Issue("--undo", "no change of this row", quote_value(row), _known(log)) for row in unknown]
        )
    return set(named.values())


def _known(log: FixLog) -> str:
    if not log.changes:
        return "the log holds no change"
    return f"name rows of the log, such as {log.source}:{log.changes[0].line}, or all"


def source_line(task: Task, file: Path) -> str:
    """What to write in the task file so that another file of examples is read as the old one is."""
    source = task.examples
    name = file.relative_to(task.folder) if file.is_relative_to(task.folder) else file
    parts = as_written(source)
    if not parts:
        return yaml.safe_dump({"examples": str(name)}, allow_unicode=True).strip()
    mapping = {"file": str(name), **parts}
    flow = yaml.safe_dump(mapping, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return f"examples: {flow.strip()}"
