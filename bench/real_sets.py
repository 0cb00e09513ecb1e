"""Create tasks from real data sets: for each a folder with a task file and the published rows.

Data: the folder named by ETUDE_DATA, else ../shared/data beside the checkout.
"""

from __future__ import annotations

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
    "rasbt_instructions": ("answer", "rows.jsonl", None, "input: [instruction, input], output: output"),
    "medquad_sample": ("answer", "medquad.jsonl", None, "input: question, output: answer"),
    "text2sql_question_split": ("answer", "train.jsonl", "test.jsonl", "input: question, output: sql"),
    "text2sql_query_split": ("answer", "train.jsonl", "test.jsonl", "input: question, output: sql"),
    "mts_dialog": ("rewrite", "train.csv", "test.csv", "input: dialogue, output: section_text"),
    "presidio_kinds": ("classify", "rows.jsonl", None, "input: text, output: kinds, group: template"),
    "ifeval_kinds": (
        "classify",
        "input_data.jsonl",
        None,
        "input: prompt, output: instruction_id_list",
    ),
    "bbq_questions": ("classify", "rows.jsonl", None, "input: [context, question], group: template"),
    "pubmedqa_labelled": (
        "classify",
        "pubmedqa.jsonl",
        None,
        "input: [question, long_answer], output: label",
    ),
}  # set -> kind of task, examples, test, columns
_FOLDERS = {
    **dict.fromkeys(("text2sql_question_split", "text2sql_query_split"), "text2sql_geo_advising"),
    "presidio_kinds": "presidio_pii",
    "bbq_questions": "bbq",
    "ifeval_kinds": "ifeval",
}
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
    labels: [yes, no]
decision_model: sparrow-decider""",
}
_FILES = {
    "mts_dialog": {
        "TrainingSet.csv": "train.csv",
        "TestSet-1-MEDIQA-Chat-2023.csv": "test.csv",
    }
}


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
        rows = json.loads((DATA / name / "instruction-data.json").read_text(encoding="utf-8"))
        write_lines(folder / "rows.jsonl", rows)
    if name == "presidio_kinds":
        _write_kinds(folder)
    elif name == "bbq_questions":
        _write_questions(folder)
    elif source == "text2sql_geo_advising":
        _write_sides(folder, name.removeprefix("text2sql_"))
    lines = [f"name: {name}", f"kind: {kind}", "model: smollm2-135m-instruct"]
    lines += [f"examples: {{file: {examples}, {columns}}}"]
    lines += [f"test: {{file: {test}, {columns}}}"] if test else []
    lines += [_KEYS[name]] if name in _KEYS else []
    (folder / "task.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "task.yaml"


def _write_kinds(folder: Path) -> None:
    """Write texts and the kinds of personal data in each; texts of one template are a group."""
    rows = json.loads((DATA / "presidio_pii" / "synth_dataset_v2.json").read_text(encoding="utf-8"))
    lines = [
        {
            "text": row["full_text"],
            "kinds": sorted({span["entity_type"] for span in row["spans"]}),
            "template": row["template_id"],
        }
        for row in rows
    ]
    write_lines(folder / "rows.jsonl", lines)


def _write_questions(folder: Path) -> None:
    """Write texts with a question about two people, and three of the columns by which the authors made them; the texts
    of one template are a group."""
    with (DATA / "bbq" / "bbq_sample.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    lines = [
        {
            "context": row["context"],
            "question": row["question"],
            "category": row["category"],
            "answerable": row["context_condition"] == "disambig",
            "negative": row["question_polarity"] == "neg",
            "template": f"{row['category']} {row['question_index']}",
        }
        for row in rows
    ]
    write_lines(folder / "rows.jsonl", lines)


def _write_sides(folder: Path, split: str) -> None:
    """Write the geography questions to one file for each side of a published split."""
    with (DATA / "text2sql_geo_advising" / "geography.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    write_lines(folder / "train.jsonl", [row for row in rows if row[split] == "train"])
    write_lines(folder / "test.jsonl", [row for row in rows if row[split] == "test"])


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
