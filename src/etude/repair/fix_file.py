"""`etude check --fix` and `--undo`: write a corrected file of examples next to the old one, and
undo single rows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from etude.base.issues import check_known
from etude.checks.kinds import FIXABLE_KINDS
from etude.data.dataset import Survey, survey_dataset
from etude.data.formats.columns import to_task_columns
from etude.errors import InputError, Issue, quote_value
from etude.privacy import Masker
from etude.privacy.mask.surrogate_log import log_path, read_surrogates
from etude.repair import change_log
from etude.repair.change_log import Change, ChangeList, FixFiles, FixLog
from etude.repair.changes import plan_changes
from etude.task import Task, load_task

# Means all rows, in place of the names of rows
ALL = "all"


@dataclass(frozen=True)
class FixResult:
    """The result of a fix or an undo."""

    files: FixFiles
    log: FixLog
    has_written: bool
    """False if there was nothing to do."""
    survey: Survey | None = None
    """The rows as they were read for a fix; None for an undo."""
    unwritten: tuple[str, ...] = ()
    """`file:line` of rows that need a change that the file format cannot hold."""
    restored: Counter[str] = field(default_factory=Counter)
    """Kind of finding -> rows that the last fix fixed but this one does not, because `only`
    excludes the kind.
    """

    @property
    def counts(self) -> Counter[str]:
        return Counter(kind for change in self.log.active for kind in change.kinds)


def fix(task: Task | Path | str, only: Sequence[str] = ()) -> FixResult:
    """Write a corrected copy of the task's examples, with every change that needs no judgement.

    `only` limits the fix to some kinds of finding (default: all of `FIXABLE_KINDS`). Changes that
    were undone stay undone. The examples, the test and the task file are not changed. Raises
    InputError for unknown kinds, for examples that cannot be read, and if the new file exists and
    is not from a fix; OSError if it cannot be written.
    """
    task = task if isinstance(task, Task) else load_task(task, needs_model=False)
    check_known("--only", only, FIXABLE_KINDS, "--fix cannot fix this kind")
    # The previous fix, if any. It is an error if somebody has changed the fixed file.
    files = FixFiles(task.examples.file)
    before = change_log.read_log(files.log)
    change_log.check_unchanged(files, before)
    # The key of the last fix, so that a value keeps its surrogate.
    masker = Masker.load_key(files.key) if files.key.exists() else Masker()
    num_before = len(masker.surrogates)
    earlier_surrogates = read_surrogates(files.source)
    survey = survey_dataset(task)
    # Two passes over the rows take most of the time.
    plan = plan_changes(
        task, lambda kind: not only or kind in only, masker, earlier_surrogates, survey
    )
    # The log, from which the fixed file is written.
    source_hash = change_log.hash_file(files.source)
    surrogates = tuple(sorted({*earlier_surrogates, *masker.surrogates}))
    undone = _carry_undone(plan.changes, before, source_hash)
    log = FixLog(
        source=files.source.name,
        source_hash=source_hash,
        surrogates=surrogates,
        changes=plan.changes,
        undone=undone,
    )
    has_written = bool(log.changes) or before is not None
    if has_written:
        log = _write_files(files, log, masker if len(masker.surrogates) > num_before else None)
    active = before.active if before and only else ()
    restored = Counter(kind for change in active for kind in change.kinds if kind not in only)
    unwritten = tuple(f"{files.source.name}:{line}" for line in plan.unwritten)
    return FixResult(files, log, has_written, survey, unwritten, restored)


def _write_files(files: FixFiles, log: FixLog, masker: Masker | None) -> FixLog:
    """Write the key before the rows that need it. After an error, a new key is deleted."""
    had_key = files.key.exists()
    try:
        if masker:
            masker.save_key(files.key)
        return change_log.write_fix(files, log)
    except OSError:
        if not had_key:
            files.key.unlink(missing_ok=True)
        raise


def _carry_undone(planned: ChangeList, before: FixLog | None, source_hash: str) -> frozenset[int]:
    """Return the positions of planned changes that were undone before.

    A change that is not planned now, because `only` excludes its kind, is added to `planned` and
    stays undone.
    """
    if before is None or not before.undone:
        return frozenset()
    is_same_file = before.source_hash == source_hash
    keys = _list_keys(before.changes, is_same_file)
    undone = {key: n for n, key in enumerate(keys) if n in before.undone}
    positions = {key: n for n, key in enumerate(_list_keys(planned, is_same_file)) if key in undone}
    for key, number in undone.items():
        if key not in positions and is_same_file:
            positions[key] = len(planned)
            planned.append(before.changes[number])
    return frozenset(positions.values())


def _list_keys(changes: Iterable[Change], by_line: bool) -> Iterator[tuple[str, int]]:
    """Yield the row of each change, with its line or the number of equal rows before it."""
    counts: Counter[str] = Counter()
    for change in changes:
        yield change.before, change.line if by_line else counts[change.before]
        counts[change.before] += 1


def undo(task: Task | Path | str, rows: Sequence[str]) -> FixResult:
    """Undo the changes of rows, given by id or as FILE:LINE of the original file, or of `all`.

    The examples of the task may be the original or the fixed file. Raises InputError if there is no
    fix, if a row has no change, and if one of the files was changed after the fix.
    """
    task = task if isinstance(task, Task) else load_task(task, needs_model=False)
    examples = task.examples.file
    files = FixFiles(examples)
    if examples.stem.endswith(".fixed") and not files.log.exists():
        fixed_log = change_log.read_log(log_path(examples))
        files = FixFiles(examples.with_name(fixed_log.source)) if fixed_log else files
    log = change_log.read_log(files.log)
    if log is None:
        message = "there is no log, so nothing was fixed"
        remedy = "run etude check TASK --fix first"
        raise InputError.of(files.log.name, message, "", remedy)
    change_log.check_unchanged(files, log)
    if change_log.hash_file(files.source) != log.source_hash:
        remedy = "run etude check TASK --fix again; undone changes stay undone"
        message = "the file was changed after it was fixed"
        raise InputError.of(files.source.name, message, "", remedy)
    log = replace(log, undone=log.undone | _select_changes(log, rows))
    return FixResult(files, change_log.write_fix(files, log), has_written=True)


def _select_changes(log: FixLog, rows: Sequence[str]) -> set[int]:
    """Return the positions of the rows' changes. Raises InputError for every row without a
    change.
    """
    if list(rows) == [ALL]:
        return set(range(len(log.changes)))
    selected: dict[str, int] = {}
    for number, change in enumerate(log.changes):
        names = {f"{log.source}:{change.line}", change.row}.intersection(rows)
        selected |= dict.fromkeys(names, number)
    unknown = [row for row in rows if row not in selected]
    if unknown:
        remedy = "the log has no changes"
        if log.changes:
            remedy = f"give a row of the log, such as {log.source}:{log.changes[0].line}, or all"
        message = "this row was not changed"
        raise InputError([Issue("--undo", message, quote_value(row), remedy) for row in unknown])
    return set(selected.values())


def format_source_line(task: Task, file: Path) -> str:
    """Return the line for the task file that reads another file of examples with the same
    columns.
    """
    name = file.relative_to(task.folder) if file.is_relative_to(task.folder) else file
    settings = to_task_columns(task.examples)
    if not settings:
        return yaml.safe_dump({"examples": str(name)}, allow_unicode=True).strip()
    mapping = {"file": str(name), **settings}
    flow = yaml.safe_dump(
        mapping, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    )
    return f"examples: {flow.strip()}"
