"""`etude check`: findings in the form that is asked for, the gate's exit code, what `--fix` and `--undo` did."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console

from etude.base.remedies import instead
from etude.base.wording import command, count
from etude.checks import Findings, check_material
from etude.checks.material import Material
from etude.checks.record import names
from etude.checks.registry import check_gates, read_material
from etude.checks.safety.excerpts import NAMES
from etude.checks.safety.instructions import personal_instructions
from etude.checks.safety.review import for_review
from etude.checks.safety.sensitive import review_step
from etude.checks.shown.html_page import as_html
from etude.checks.shown.machine import as_json, as_sarif, as_worklist
from etude.checks.shown.terminal import WIDTH, in_words
from etude.cli.destinations import check_output, is_written_through, write_output
from etude.cli.printing import screen
from etude.data.dataset import Dataset
from etude.errors import InputError, Issue, quote_value
from etude.repair.changes import KINDS
from etude.repair.fix import Fixed, fix, source_line, undo
from etude.repair.worklist import COLUMNS
from etude.task import Task, load_task

FORMS: Mapping[str, Callable[[Findings], str]] = {
    "text": lambda findings: in_words(findings, min(screen().width, WIDTH)),
    "json": as_json,
    "html": as_html,
    "sarif": as_sarif,
}
"""Name of a format -> what writes it."""
BY_SUFFIX = {
    **{".txt": "text", ".html": "html", ".htm": "html", ".sarif": "sarif", ".sarif.json": "sarif"},
    ".json": "json",
}
"""End of a file's name -> its format; of two that fit, the longer one's."""


def run_check(
    task: Path,
    fail_on: Sequence[str],
    form: str | None = None,
    output: Path | None = None,
    worklist: Path | None = None,
) -> int:
    """Prints the findings or writes them to a file, with a `worklist` also the labels that look wrong to one; returns 1
    if a finding is of a kind or severity in `fail_on`."""
    if form and form not in FORMS:
        raise InputError([Issue("--format", "no such format", quote_value(form), instead(form, FORMS))])
    check_gates(fail_on)
    loaded = load_task(task, needs_model=False)
    check_output(loaded, output)
    if worklist and worklist.exists():
        remedy = "name another: a worklist that somebody may have filled in is not overwritten"
        raise InputError([Issue("--worklist", "the file exists", quote_value(str(worklist)), remedy)])
    name = form or _form_of(output)
    with Console(stderr=True).status("Reading") as status:
        material = read_material(loaded)
        findings = check_material(
            material, begun=lambda name: status.update(f"Checking: {name.replace('_', ' ')}")
        )
    text = FORMS[name](findings)
    if output:
        write_output(output, text)
        text = f"Wrote {output}: {count(len(findings), 'finding')}."
        typer.echo(text, err=is_written_through(output))
    else:
        typer.echo(text, nl=False)
    if worklist:
        write_output(worklist, as_worklist(findings, material.rows))
        number = sum(len(one.rows) for one in findings.of("wrong_label"))
        filled = f" Fill in its column {COLUMNS[-1]}, then run: {command('check', task)} --fix --worklist {worklist}"
        typer.echo(
            f"Wrote {worklist}: {count(number, 'label')} to look at.{filled if number else ''}", err=True
        )
    return int(bool(findings.failing(fail_on)))


def _form_of(output: Path | None) -> str:
    """The format for the name of a file; text without a suffix. Raises InputError for an unknown one."""
    if output is None or not output.suffix:
        return "text"
    ends = [suffix for suffix in BY_SUFFIX if output.name.lower().endswith(suffix)]
    if not ends:
        remedy = f"end the name in {', '.join(BY_SUFFIX)}, or set --format"
        raise InputError([Issue("--output", "unknown format", quote_value(output.name), remedy)])
    return BY_SUFFIX[max(ends, key=len)]


def check_together(*, fix: bool, undo: bool, only: bool, of_the_check: Mapping[str, bool]) -> None:
    """Raises InputError for flags that would be ignored; `of_the_check` is flag -> whether it is given."""
    faults = []
    if fix and undo:
        faults.append(Issue("--undo", "cannot be combined with --fix", "", "run one after the other"))
    if only and not fix:
        faults.append(Issue("--only", "works only with --fix", "", "add --fix"))
    if fix or undo:
        remedy = "run etude check separately, also for the fixed rows"
        faults += [
            Issue(flag, f"{'--fix' if fix else '--undo'} does not check", "", remedy)
            for flag, given in of_the_check.items()
            if given
        ]
    if faults:
        raise InputError(faults)


def run_fix(task_file: Path, only: Sequence[str], worklist: Path | None = None) -> None:
    """Writes the fixed examples beside the old ones and prints what was done."""
    task = load_task(task_file, needs_model=False)
    kinds = [kind for name in only for kind in _kinds_of(name)]
    done = fix(task, kinds, worklist)
    material = read_material(task, done.survey)
    asked = not kinds or any(kind.startswith("privacy_") for kind in kinds)
    for line in (
        *fixed_in_words(task, done, task_file),
        *(_not_masked(material) if asked else ()),
        *_left_alone(material),
    ):
        typer.echo(line)


def _kinds_of(name: str) -> list[str]:
    """The kinds that a name, such as `privacy_*`, means; where it means none, the name as it is."""
    return [kind for kind in KINDS if names(name, kind)] or [name]


def _not_masked(material: Material) -> Iterator[str]:
    """What may be personal but is not masked, because no rule is sure of it. Of many rows an even sample is looked
    at, as in a check."""
    total = len(material.rows)
    looked = range(0, total, review_step(total))
    if len(looked) < total:
        material = replace(material, rows=Dataset(tuple(material.rows[row] for row in looked)))
    sample = f" of {len(looked):,} looked at" if len(looked) < total else ""
    counts = [
        f"{NAMES[finding.kind.removeprefix('review_')]} in {count(int(finding.numbers['rows']), 'row')}"
        for finding in for_review(material)
    ]
    seen = (
        f"what may be {', '.join(counts)}{sample}"
        if counts
        else "the rules found none here, but they do not find all"
    )
    yield (
        f"Not masked: names, postal addresses, birth dates and health details are unchanged: {seen}. "
        "etude check shows where."
    )


def _left_alone(material: Material) -> Iterator[str]:
    """What is personal in the instructions and system messages, which a fix does not change."""
    for finding in personal_instructions(material):
        yield f"Not changed: {finding.message} {finding.remedy} It is in {', '.join(finding.locations)}."


def run_undo(task_file: Path, rows: Sequence[str]) -> None:
    """Undoes changes and prints the result."""
    task = load_task(task_file, needs_model=False)
    for line in fixed_in_words(task, undo(task, rows), task_file):
        typer.echo(line)


def fixed_in_words(task: Task, fixed: Fixed, task_file: Path) -> Iterator[str]:
    """What a fix has done, which file holds what, and the line that uses it."""
    files, log = fixed.files, fixed.log
    if fixed.unwritten:
        yield (
            f"{count(len(fixed.unwritten), 'row')} must be fixed by hand, because {files.source.name} cannot hold the "
            f"change: {', '.join(fixed.unwritten)}."
        )
    if not fixed.written:
        yield f"{files.source.name}: no error that can be fixed automatically; nothing was written."
        return
    standing = len(log.changes) - len(log.undone)
    left_out = sum(change.after is None for change in log.standing)
    taken_back = f"; {count(len(log.undone), 'change')} undone" if log.undone else ""
    yield (
        f"Wrote {files.fixed.name}: {count(standing - left_out, 'row')} of {files.source.name} changed, "
        f"{left_out:,} left out{taken_back}."
    )
    for kind, number in fixed.counts.items():
        yield f"  {kind}: {count(number, 'row')}"
    for kind, number in fixed.put_back.items():
        yield f"  {kind}: {count(number, 'row')} restored to before the last fix, because --only leaves this kind out"
    yield f"Every change, with the row before and after, is in {files.log.name}."
    if standing:
        place = f"{files.source.name}:{next(log.standing).line}"
        yield f"To undo one: etude check {shlex.quote(str(task_file))} --undo {shlex.quote(place)}"
    if not standing:
        yield (
            f"All changes are undone: {files.fixed.name} equals {files.source.name}. Delete it, its log and its key "
            "file if you no longer need them; as long as the log exists, --fix skips these rows."
        )
        return
    if files.key.exists():
        yield f"The map from surrogate to original is in {files.key.name}. Do not share it or the log with the rows."
    yield f"{task.file.name} is unchanged. To use the new rows, write in it:"
    yield f"  {source_line(task, files.fixed)}"
