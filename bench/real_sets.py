"""Read real data sets, and create tasks from them: for each a folder with a task file and the
published rows.

Data: the folder named by ETUDE_DATA, else ../shared/data beside the checkout.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
COLUMNS = {
    "banking77": ("classify", "train.csv", "test.csv", "input: text, output: category"),
    "snips_intents": ("classify", "train.jsonl", "validate.jsonl", "input: text, output: intent"),
    "sms_spam": ("classify", "sms.tsv", None, "input: text, output: label"),
    "rasbt_instructions": (
        "answer",
        "rows.jsonl",
        None,
        "input: [instruction, input], output: output",
    ),
    "mts_dialog": ("rewrite", "train.csv", "test.csv", "input: dialogue, output: section_text"),
    "presidio_kinds": (
        "classify",
        "rows.jsonl",
        None,
        "input: text, output: kinds, group: template",
    ),
    "ifeval_kinds": (
        "classify",
        "input_data.jsonl",
        None,
        "input: prompt, output: instruction_id_list",
    ),
    "bbq_questions": (
        "classify",
        "rows.jsonl",
        None,
        "input: [context, question], group: template",
    ),
    "pubmedqa_labelled": (
        "classify",
        "pubmedqa.jsonl",
        None,
        "input: [question, long_answer], output: label",
    ),
}  # set -> kind of task, examples, test, columns
_FOLDERS = {"presidio_kinds": "presidio_pii", "bbq_questions": "bbq", "ifeval_kinds": "ifeval"}
_KEYS = {  # further lines
    **dict.fromkeys(("presidio_kinds", "ifeval_kinds"), "several: true"),
    "pubmedqa_labelled": "scale: [no, maybe, yes]",
    "bbq_questions": """questions:
  category:
    ask: Which property of people is the text about?
  answerable:
    ask: Does the text say who is meant by the question?
    labels: [yes, no]
  negative:
    ask: Does the question ask for something negative?
    labels: [yes, no]""",
}
_FILES = {
    "mts_dialog": {"TrainingSet.csv": "train.csv", "TestSet-1-MEDIQA-Chat-2023.csv": "test.csv"}
}


def read_rows(file: str | Path) -> list[dict[str, Any]]:
    """Read the rows of a file below `DATA`, or of an absolute path. Exit with the reason if it does
    not exist.
    """
    path = DATA / file
    if not path.is_file():
        sys.exit(f"{path} is not there; set ETUDE_DATA to the folder that contains it")
    text = path.read_text(encoding="utf-8")
    if path.name == "sms.tsv":  # it has no header line, and its quotes are text
        lines = (line.partition("\t") for line in text.split("\n") if line)
        return [{"label": label, "text": message} for label, _, message in lines]
    if path.suffix == ".json":
        rows: list[dict[str, Any]] = json.loads(text)
        return rows
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line]
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def prepare_task(name: str, folder: Path) -> Path:
    """Write the task file of a set, with copies of its rows, to `folder`, and return its path."""
    if not (DATA / _FOLDERS.get(name, name)).is_dir():
        sys.exit(f"{name} is not at {DATA}; set ETUDE_DATA to the folder that contains it")
    kind, examples, test, columns = COLUMNS[name]
    source = _FOLDERS.get(name, name)
    folder.mkdir(parents=True, exist_ok=True)
    for original, target in _FILES.get(name, {}).items():
        shutil.copyfile(DATA / name / original, folder / target)
    for file in (examples, test):
        if file and (DATA / source / file).exists():
            shutil.copyfile(DATA / source / file, folder / file)
    if name == "sms_spam":  # the file has no header line
        text = (DATA / name / "sms.tsv").read_text(encoding="utf-8")
        (folder / "sms.tsv").write_text("label\ttext\n" + text, encoding="utf-8")
    if name == "rasbt_instructions":
        write_lines(folder / "rows.jsonl", read_rows(f"{name}/instruction-data.json"))
    if name == "presidio_kinds":
        _write_kinds(folder)
    elif name == "bbq_questions":
        _write_questions(folder)
    lines = [f"name: {name}", f"kind: {kind}", "model: smollm2-135m-instruct"]
    lines += [f"examples: {{file: {examples}, {columns}}}"]
    lines += [f"test: {{file: {test}, {columns}}}"] if test else []
    lines += [_KEYS[name]] if name in _KEYS else []
    (folder / "task.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "task.yaml"


def _write_kinds(folder: Path) -> None:
    """Write texts and the kinds of personal data in each; texts of one template are a group."""
    lines = [
        {
            "text": row["full_text"],
            "kinds": sorted({span["entity_type"] for span in row["spans"]}),
            "template": row["template_id"],
        }
        for row in read_rows("presidio_pii/synth_dataset_v2.json")
    ]
    write_lines(folder / "rows.jsonl", lines)


def _write_questions(folder: Path) -> None:
    """Write texts with a question about two people, and three of the columns by which the authors
    made them; the texts of one template are a group.
    """
    lines = [
        {
            "context": row["context"],
            "question": row["question"],
            "category": row["category"],
            "answerable": row["context_condition"] == "disambig",
            "negative": row["question_polarity"] == "neg",
            "template": f"{row['category']} {row['question_index']}",
        }
        for row in read_rows("bbq/bbq_sample.jsonl")
    ]
    write_lines(folder / "rows.jsonl", lines)


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines."""
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
