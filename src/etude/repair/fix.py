"""`etude check --fix`: a new file of examples beside the old one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from etude.base.remedies import instead
from etude.data.dataset import Survey, survey_dataset
from etude.data.formats.columns import as_written
from etude.errors import Fault, InputError, shown
from etude.privacy import Masker
from etude.repair.change_log import (
    Files,
    FixLog,
    check_ours,
    hash_of,
    read_log,
    stand_ins,
    write_fix,
)
from etude.repair.changes import KINDS, changes
from etude.task import Task, load_task


@dataclass(frozen=True)
class Fixed:
    """What a fix has done."""

    files: Files
    log: FixLog
    written: bool
    """Whether anything is written; False where nothing was to be done."""
    survey: Survey
    """The rows as they were read."""
    unwritten: tuple[str, ...] = ()
    """`file:line` of rows that would need a change that the file has no way to write."""

    @property
    def counts(self) -> Counter[str]:
        """Kind of finding -> rows in which it is put right now."""
        return Counter(kind for change in self.log.changes for kind in change.kinds)


def fix(task: Task | Path | str, only: Sequence[str] = ()) -> Fixed:
    """Writes the examples of a task, or of the task in a file, put right where that needs no judgement, beside them.
    `only` names kinds of finding; all of `KINDS` by default. The file of
    examples, the test and the task file are not written to. Raises InputError for unknown kinds, for examples that
    cannot be read, and where the new file is there and is not a fix's; OSError where it cannot be written.
    """
    task = task if isinstance(task, Task) else load_task(task, needs_model=False)
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
    survey = survey_dataset(task)
    outcome = changes(task, lambda kind: not only or kind in only, masker, known, survey)
    found = outcome.changes
    unwritten = tuple(f"{files.source.name}:{line}" for line in outcome.unwritten)
    log = FixLog(
        source=files.source.name,
        source_hash=hash_of(files.source),
        stand_ins=tuple(sorted({*known, *masker.stand_ins})),
        changes=found,
    )
    if not found and before is None:
        return Fixed(files, log, False, survey, unwritten)
    written = _written(files, log, masker if len(masker.stand_ins) > had else None)
    return Fixed(files, written, True, survey, unwritten)


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
