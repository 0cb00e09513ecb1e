"""Build a task file from objects of OpenAI's API that were saved to files: `etude import openai`.

The eval's items become the test, with the right answers from its graders and the stored answers of
the evaluated models. The files of the fine-tuning job become the examples. Graders that compare
texts become the check; the others are listed. No API is called.
"""

import pprint
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from etude.base.files import Json, write_lines, write_text
from etude.base.formatting import format_command, format_count, format_names
from etude.base.issues import raise_issues
from etude.data.dataset import count_min_rows, load_dataset, load_test, too_few_rows
from etude.data.formats import read_rows, survey_rows
from etude.data.splits import input_key
from etude.data.starter.draft import TaskDraft
from etude.data.starter.guess_columns import ColumnRoles
from etude.data.starter.task_text import MODEL
from etude.errors import InputError, Issue, parse_location, quote_value
from etude.task import RowSource, load_task
from etude.types import Example, Message
from etude_openai.saved.item_rows import ItemRows, build_item_rows
from etude_openai.saved.saved_evals import SavedEval, read_evals
from etude_openai.saved.saved_objects import SavedFolder, read_saved_folder

JobRows = list[tuple[str, Json]]  # key of the input and line of each row
FILES = ("training_file", "validation_file")
WRITTEN = ("task.yaml", "examples.jsonl", "test.jsonl", "checks.py")  # files of the new task
CHECK = '''\
"""Whether an answer passes the criteria of a saved eval. Written by `etude import openai`."""

from etude_openai.graders.grade import Tools, grade

CRITERIA = {criteria}


def passes(example, answer):
    """Whether an answer passes every criterion; `item.expected` is the right answer of the row."""
    item, sample = {{"expected": example.output}}, {{"output_text": answer}}
    return all(grade(criterion, item, sample, Tools()).passed for criterion in CRITERIA)
'''


@dataclass(frozen=True)
class ImportedTask:
    """The new task file, and sentences on everything that was read, imported or left out."""

    task_file: Path
    sentences: tuple[str, ...]
    issues: tuple[Issue, ...]
    """Errors that must be corrected before a comparison."""


def import_openai(
    folder: Path,
    output: Path | None = None,
    eval_name: str | None = None,
    input_fields: Sequence[str] = (),
    answer_field: str | None = None,
) -> ImportedTask:
    """Write task.yaml, its rows and its check into `output` (default: the folder `etude` in
    `folder`).

    `eval_name`: a name or id, if the folder contains several evals. `input_fields` and
    `answer_field`: fields of an item, needed only if runs and graders do not show them. Raises
    InputError with every error of the folder, each with file:line.
    """
    target = output or folder / "etude"
    if not folder.is_dir():
        remedy = "use the folder with the saved files"
        if folder.is_file():
            remedy += f"; for a file of rows run {format_command('compare', folder)}"
        raise InputError.of(str(folder), "not a folder", "", remedy)
    remedy = "delete it, or choose another folder with --output FOLDER"
    written = [target / name for name in WRITTEN]
    if present := [
        Issue(str(file), "already exists", "", remedy) for file in written if file.exists()
    ]:
        raise InputError(present)
    saved = read_saved_folder(folder, target)
    evaluation = _choose_eval(saved, read_evals(saved), eval_name)
    items = build_item_rows(saved, evaluation, input_fields, answer_field) if evaluation else None
    files = _read_job(saved, items.models if items else ())
    if not (evaluation or files or saved.issues):
        rows = next(folder.glob("*.jsonl"), Path("FILE"))
        remedy = (
            "save evals, runs and jobs as the API returns them; for rows run "
            f"{format_command('compare', rows)}"
        )
        saved.add_issue(str(folder), "the folder contains neither an eval nor a job", "", remedy)
    raise_issues(saved.issues, folder)
    target.mkdir(parents=True, exist_ok=True)
    sources, sentences = _write_rows(target, items, files)
    kind = _guess_kind(target, items, has_test="test" in sources)
    check, check_sentences = _write_check(target, items, kind)
    # Names from the folder must not end a comment of the task file.
    sentences = [*(items.sentences if items else []), *sentences, *check_sentences]
    sentences = [" ".join(sentence.split()) for sentence in sentences]
    name = items.name if items else folder.resolve().name
    body = {
        "name": name,
        "kind": kind,
        "model": MODEL,
        **sources,
        **check,
        "methods": "all",
        "budget": "15m",
    }
    remarks = "".join(
        f"# {sentence}\n" for sentence in ["Written by etude import openai.", *sentences]
    )
    write_text(
        target / "task.yaml", remarks + yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
    )
    return ImportedTask(
        target / "task.yaml", tuple(sentences), tuple(_find_issues(target / "task.yaml"))
    )


def _choose_eval(
    saved: SavedFolder, evals: Sequence[SavedEval], wanted: str | None
) -> SavedEval | None:
    """Return the only eval, or the one with the wanted name; None, with an error, if this is not
    exactly one.
    """
    chosen = [
        evaluation for evaluation in evals if wanted in (None, evaluation.name, evaluation.id)
    ]
    if len(chosen) > 1 or (wanted and not chosen):
        message = (
            "the folder contains several evals"
            if chosen
            else "the folder has no eval with this name"
        )
        remedy = (
            f"choose one: --eval {' or '.join(evaluation.id for evaluation in evals) or 'NAME'}"
        )
        saved.add_issue(str(saved.folder), message, quote_value(wanted or chosen[0].name), remedy)
        return None
    return chosen[0] if chosen else None


def _read_job(saved: SavedFolder, models: Sequence[str]) -> dict[str, JobRows]:
    jobs = sorted(saved.get("fine_tuning.job"), key=lambda job: job.body.get("created_at") or 0)
    jobs.sort(
        key=lambda job: (
            job.body.get("fine_tuned_model") in models,
            job.body.get("status") == "succeeded",
        )
    )
    rows: dict[str, JobRows] = {}
    for param in FILES if jobs else ():
        file_id = jobs[-1].body.get(param)
        file = saved.find_rows(jobs[-1], file_id, f"the {param} of the job") if file_id else None
        try:
            examples = read_rows(RowSource(file)).examples if file else []
        except InputError as error:
            saved.issues += error.issues
        else:
            lines = dict(saved.read_json_lines(file)) if file else {}
            rows[param] = [
                (input_key(row), lines[parse_location(row.location)[1]]) for row in examples
            ]
    return rows


def _write_rows(
    target: Path, items: ItemRows | None, files: dict[str, JobRows]
) -> tuple[Json, list[str]]:
    rows = (
        [{"id": f"item-{number}", **row} for number, row in enumerate(items.rows)] if items else []
    )
    columns: Json = {"messages": "messages", **({"id": "id"} if items else {})}
    columns |= {"answers": ["answers"]} if items and items.models else {}
    training, validation = (files.get(param, []) for param in FILES)
    if not files:
        write_lines(target / "examples.jsonl", rows)
        sentence = (
            f"Examples: the {format_count(len(rows), 'item')}; a part will be split off as the "
            "sealed test."
        )
        return {"examples": {"file": "examples.jsonl", **columns}}, [sentence]
    test = rows or [line for _, line in validation]
    keys = {input_key(_to_example(row)) for row in rows} or {key for key, _ in validation}
    training = training + (validation if rows else [])
    examples = [line for key, line in training if key not in keys]
    write_lines(target / "examples.jsonl", examples)
    sources: Json = {"examples": "examples.jsonl"}
    sentences = [
        f"Examples: {format_count(len(examples), 'row')} of the job's "
        f"{' and '.join(files if rows else FILES[:1])}."
    ]
    if len(examples) < len(training):
        num_shared = len(training) - len(examples)
        sentences.append(
            f"Examples left out because their input is also in the test: {num_shared:,}."
        )
    if test:
        write_lines(target / "test.jsonl", test)
        # Users may add answers of the old model to the lines of the file: docs/from-openai.md.
        has_answers = not rows and all("answers" in line for line in test)
        columns |= {"answers": ["answers"]} if has_answers else {}
        sources["test"] = {"file": "test.jsonl", **columns} if rows or has_answers else "test.jsonl"
        stored = "with" if has_answers else "without"
        origin = "of the eval" if rows else f"of the job's validation_file, {stored} stored answers"
        sentences.append(f"Test: {format_count(len(test), 'row')} {origin}.")
    return sources, sentences


def _write_check(target: Path, items: ItemRows | None, kind: str) -> tuple[Json, list[str]]:
    """Write checks.py with the imported criteria. Return the keys of the task file, and
    sentences.
    """
    criteria = items.criteria if items else []
    keys = dict[str, str]()
    sentences = list[str]()
    if items and criteria and kind == "classify":
        sentences.append(
            "The eval's criteria require the expected label. The task's metric measures that."
        )
    elif items and criteria:
        body = pprint.pformat(criteria, width=100, sort_dicts=False)
        write_text(target / "checks.py", CHECK.format(criteria=body))
        keys = {"check": "checks.py:passes", "metric": "passes"}
        names = format_names([str(criterion["name"]) for criterion in criteria])
        sentences.append(f"Imported into the check in checks.py: {names}.")
    if items and items.not_carried:
        sentences.append(f"Not imported: {'; '.join(items.not_carried)}.")
    return keys, sentences


def _guess_kind(target: Path, items: ItemRows | None, has_test: bool) -> str:
    """Guess the kind of task from the rows; classify only if the criteria require nothing but
    equality.
    """
    rows = survey_rows(RowSource(target / "examples.jsonl"))
    test = rows.source.file if has_test else None
    kind = TaskDraft(rows, target / "task.yaml", ColumnRoles(rows.source, {}), test).kind[0]
    return "answer" if kind == "classify" and items and not items.asks_equality else kind


def _find_issues(task_file: Path) -> Iterator[Issue]:
    try:
        task, rows = load_dataset(load_task(task_file, needs_model=False))
        test = load_test(task)
    except InputError as error:
        yield from error.issues
        return
    if len(rows) < count_min_rows(test is not None)[0]:
        yield too_few_rows(task.examples.file.name, len(rows), test is not None)


def _to_example(row: Json) -> Example:
    *turns, answer = (Message(turn["role"], turn["content"]) for turn in row["messages"])
    return Example("", tuple(turns), answer.content)
