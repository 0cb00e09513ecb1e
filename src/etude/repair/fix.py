"""`etude check --fix` and `--undo`: a new file of examples beside the old one, and the way back row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from etude.errors import Fault, InputError, shown
from etude.privacy import Masker
from etude.remedies import instead
from etude.repair.changes import KINDS, Change, changes
from etude.repair.log import Files, FixLog, Logged, check_ours, hash_of, read_log, stand_ins, write_fix
from etude.task import Task

ALL = "all"
"""In place of rows: every one."""


@dataclass(frozen=True)
class Fixed:
    """What a fix or an undoing has left."""

    files: Files
    log: FixLog
    written: bool
    """Whether anything is written; False where nothing was to be done."""

    @property
    def counts(self) -> Counter[str]:
        """Kind of finding -> rows in which it is put right now."""
        return Counter(kind for entry in self.standing for kind in entry.change.kinds)

    @property
    def standing(self) -> list[Logged]:
        """The changes that are not taken back."""
        return [entry for entry in self.log.entries if not entry.undone]


def fix(task: Task, only: Sequence[str] = ()) -> Fixed:
    """Writes the task's examples, put right where that needs no judgement, beside them.

    `only` names kinds of finding; all of `KINDS` by default. What was taken back before stays so. The file of
    examples, the test and the task file are not written to. Raises InputError for unknown kinds, for examples that
    cannot be read, and where the new file is there and is not a fix's; OSError where it cannot be written.
    """
    unknown = [kind for kind in only if kind not in KINDS]
    if unknown:
        raise InputError(
            [Fault("--only", "nothing to fix by", shown(kind), instead(kind, KINDS)) for kind in unknown]
        )
    files = Files(task.examples.file)
    before = read_log(files.log)
    check_ours(files, before)
    masker = Masker.load_key(files.key) if files.key.exists() else Masker()
    had = len(masker.stand_ins)
    known = stand_ins(files.source)
    found = changes(task, lambda kind: not only or kind in only, masker, known)
    content = files.source.read_bytes()
    source_hash = hash_of(content)
    log = FixLog(
        source=files.source.name,
        source_hash=source_hash,
        stand_ins=tuple(sorted({*known, *masker.stand_ins})),
        entries=_carried_on(found, before, source_hash),
    )
    if not found and before is None:
        return Fixed(files, log, written=False)
    if len(masker.stand_ins) > had:
        masker.save_key(files.key, over=True)
    return Fixed(files, write_fix(files, log, content), written=True)


def _carried_on(found: Sequence[Change], before: FixLog | None, source_hash: str) -> tuple[Logged, ...]:
    """The changes; of rows that were taken back before also now, found again by what stands in them."""
    undone = [entry.change for entry in before.entries if entry.undone] if before else []
    if before and before.source_hash == source_hash:
        lines = {change.line for change in undone}
        return tuple(Logged(change, change.line in lines) for change in found)
    rows = {change.before for change in undone}
    return tuple(Logged(change, change.before in rows) for change in found)


def undo(task: Task, rows: Sequence[str]) -> Fixed:
    """Takes changes back: rows by their id or as FILE:LINE of the file that was fixed, or `all`.

    Works from the task as it was, and from one that names the fixed file. Raises InputError where there is no fix,
    where a row has no change, and where one of the files was changed since.
    """
    files = _files_of(task)
    log = read_log(files.log)
    if log is None:
        fault = Fault(
            files.log.name, "there is no log, so nothing was fixed", "", "run etude check TASK --fix first"
        )
        raise InputError([fault])
    check_ours(files, log)
    content = files.source.read_bytes()
    if hash_of(content) != log.source_hash:
        remedy = "run etude check TASK --fix again; what was taken back before stays so"
        raise InputError([Fault(files.source.name, "was changed since it was fixed", "", remedy)])
    meant = _meant(log, rows)
    entries = tuple(
        replace(entry, undone=entry.undone or number in meant) for number, entry in enumerate(log.entries)
    )
    return Fixed(files, write_fix(files, replace(log, entries=entries), content), written=True)


def _files_of(task: Task) -> Files:
    """The files of the fix that the task's examples went through, or came from."""
    here = task.examples.file
    if here.stem.endswith(".fixed") and not Files(here).log.exists():
        log = read_log(here.with_name(f"{here.stem}.log.jsonl"))
        return Files(here.with_name(log.source)) if log else Files(here)
    return Files(here)


def _meant(log: FixLog, rows: Sequence[str]) -> set[int]:
    """Which entries are meant. Raises InputError for every row that names none."""
    if list(rows) == [ALL]:
        return set(range(len(log.entries)))
    places = {f"{log.source}:{entry.change.line}": number for number, entry in enumerate(log.entries)}
    places |= {entry.change.row: number for number, entry in enumerate(log.entries) if entry.change.row}
    unknown = [row for row in rows if row not in places]
    if unknown:
        raise InputError(
            [Fault("--undo", "no change of this row", shown(row), _known(log)) for row in unknown]
        )
    return {places[row] for row in rows}


def _known(log: FixLog) -> str:
    first = log.entries[0].change if log.entries else None
    return (
        f"name rows of the log, such as {log.source}:{first.line}, or all"
        if first
        else "the log holds no change"
    )


def source_line(task: Task, file: Path) -> str:
    """What to write in the task file so that another file of examples is read as the old one is."""
    source = task.examples
    name = file.relative_to(task.folder) if file.is_relative_to(task.folder) else file
    parts = {
        key: list(value) if isinstance(value, tuple) else value
        for key in ("input", "output", "system", "messages", "id", "references", "group", "tags")
        if (value := getattr(source, key))
    }
    if not parts:
        return yaml.safe_dump({"examples": str(name)}, allow_unicode=True).strip()
    mapping = {"file": str(name), **parts}
    flow = yaml.safe_dump(mapping, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return f"examples: {flow.strip()}"
