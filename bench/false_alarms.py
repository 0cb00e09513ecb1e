"""Count the rows of real sets, which are nearly consistent, that heuristic checks report.

    python bench/false_alarms.py [SET ...] [--show] [--only CHECK ...]

For each set and kind of finding, prints the reported rows, their share and the processor seconds of the check; with
--show also the first rows. All sets are English. Inputs and answers are checked in sets for rewriting and answering,
in the other sets only inputs.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from real_sets import DATA

from etude.checks import Check, Material
from etude.checks.language import wrong_language
from etude.checks.records import unsupported_fields
from etude.checks.rows import endings, single_rows
from etude.checks.safety import phrases
from etude.data.dataset import Dataset
from etude.task import RowSource, Task
from etude.types import Example, Kind, Message

SETS: Mapping[str, tuple[str, Kind, tuple[str, ...], str]] = {
    "banking77": ("train.csv", "classify", ("text",), "category"),
    "snips_intents": ("train.jsonl", "classify", ("text",), "intent"),
    "rasbt_instructions": ("instruction-data.json", "answer", ("instruction", "input"), "output"),
    "rasbt_preferences": (
        "instruction-data-with-preference.json",
        "answer",
        ("instruction", "input"),
        "rejected",
    ),
    "mts_dialog": ("TrainingSet.csv", "rewrite", ("dialogue",), "section_text"),
    "medquad_sample": ("medquad.jsonl", "answer", ("question",), "answer"),
    "pubmedqa_labelled": ("pubmedqa.jsonl", "answer", ("question",), "long_answer"),
    "xquad_en": ("xquad_en.jsonl", "answer", ("question",), "context"),
    "e2e_nlg": ("cleaned_devel.csv", "rewrite", ("mr",), "ref"),
    "wikisql_sample": ("train.jsonl", "answer", ("question",), "sql"),
    "ncbi_disease": ("train.jsonl", "extract", ("text",), "entities"),
    "paradetox": ("paradetox_300.tsv", "rewrite", ("toxic",), "neutral1"),
    "presidio_pii": ("synth_dataset_v2.json", "classify", ("full_text",), "template_id"),
    "pandalm_testset": ("testset-v1.json", "answer", ("instruction", "input"), "response1"),
    "crows_pairs": ("crows_pairs_anonymized.csv", "rewrite", ("sent_more",), "sent_less"),
    "ifeval": ("input_data.jsonl", "classify", ("prompt",), "key"),
    "xstest": ("xstest_prompts.csv", "classify", ("prompt",), "label"),
    "chunking_eval_corpora": ("questions_df.csv", "classify", ("question",), "corpus_id"),
}  # set -> file, kind of task, columns of the input, column of the answer
CHECKS: tuple[Check, ...] = (
    unsupported_fields.check_unsupported,
    wrong_language.check_language,
    wrong_language.check_answer_language,
    phrases.check_refusals,
    single_rows.check_markup,
    phrases.check_advice,
    phrases.check_insults,
    phrases.check_threats,
    endings.check_truncated,
    single_rows.check_placeholders,
    phrases.check_injections,
)


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    flags = argparse.ArgumentParser(description="How often checks report rows of real sets.")
    flags.add_argument("sets", nargs="*", choices=[[], *SETS], metavar="SET")
    flags.add_argument("--show", action="store_true", help="the first rows of each")
    flags.add_argument("--only", nargs="+", choices=[check.name for check in CHECKS], metavar="CHECK")
    options = flags.parse_args(arguments)
    for name in options.sets or SETS:
        file, kind, input_columns, answer_column = SETS[name]
        rows = Dataset(tuple(read_examples(DATA / name / file, input_columns, answer_column)))
        task = Task(name, kind, "fake", RowSource(DATA / name / file), Path(), Path("task.yaml"))
        material = Material(task, rows)
        for check in CHECKS:
            if options.only is None or check.name in options.only:
                measure_check(material, check, options.show)
    return 0


def measure_check(material: Material, check: Check, show: bool) -> None:
    start = time.process_time()
    findings = list(check(material))
    seconds = time.process_time() - start
    label = f"{material.task.name:22} {check.name:18} {len(material.rows):6,} rows {seconds:6.1f} s"
    if not findings:
        print(label)
    for finding in findings:
        share = len(finding.rows) / len(material.rows)
        print(f"{label}  {finding.kind:18} {len(finding.rows):5,} ({share:.2%})", flush=True)
        for excerpt in finding.excerpts if show else ():
            texts = [excerpt.text[low:high] for low, high in excerpt.spans]
            print(f"    {excerpt.location} {excerpt.column}: {texts or excerpt.text[:200]!r}")


def read_examples(file: Path, input_columns: Sequence[str], answer_column: str) -> Iterator[Example]:
    for number, row in enumerate(read_rows(file)):
        text = "\n\n".join(filter(None, (to_text(row.get(name)) for name in input_columns)))
        answer = to_text(row.get(answer_column))
        if text and answer:
            yield Example(str(number), (Message("user", text),), answer, location=f"{file.name}:{number + 1}")


def to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if value is not None else ""


def read_rows(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        if file.suffix == ".jsonl":
            return [json.loads(line) for line in lines]
        if file.suffix == ".json":
            rows: list[dict[str, Any]] = json.load(lines)
            return rows
        return list(csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
