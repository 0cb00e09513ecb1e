"""How often checks that no count can confirm speak on real sets, which are consistent nearly throughout.

    python bench/false_alarms.py [SET ...] [--show] [--only CHECK ...]

Prints for each set and kind of finding the rows named, their share and the processor seconds of the check;
with --show the first rows of each. All sets are English. Rewritten and answered sets are checked in inputs and
answers, the others in inputs.
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
from etude.checks.language import replies
from etude.checks.language import wrong_language as language
from etude.checks.records import fields
from etude.checks.rows import endings, form
from etude.checks.safety import insults, phrases, refusals
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
}
"""Set -> file, kind of task, columns of the input, column of the answer."""
CHECKS: tuple[Check, ...] = (
    fields.unsupported_fields,
    language.wrong_language,
    replies.answered_otherwise,
    refusals.refusals,
    form.markup,
    phrases.advice,
    insults.insults,
    phrases.threats,
    endings.truncated,
    form.placeholders,
    phrases.injections,
)


def main(arguments: Sequence[str]) -> int:
    """Prints the table."""
    flags = argparse.ArgumentParser(description="How often checks speak on real sets.")
    flags.add_argument("sets", nargs="*", choices=[[], *SETS], metavar="SET")
    flags.add_argument("--show", action="store_true", help="the first rows of each")
    flags.add_argument("--only", nargs="+", choices=[check.name for check in CHECKS], metavar="CHECK")
    chosen = flags.parse_args(arguments)
    for name in chosen.sets or SETS:
        file, kind, asked, given = SETS[name]
        rows = Dataset(tuple(_examples(DATA / name / file, asked, given)))
        task = Task(name, kind, "fake", RowSource(DATA / name / file), Path(), Path("task.yaml"))
        material = Material(task, rows)
        for check in CHECKS:
            if chosen.only is None or check.name in chosen.only:
                _measure(material, check, chosen.show)
    return 0


def _measure(material: Material, check: Check, show: bool) -> None:
    begin = time.process_time()
    found = list(check(material))
    seconds = time.process_time() - begin
    label = f"{material.task.name:22} {check.name:18} {len(material.rows):6,} rows {seconds:6.1f} s"
    if not found:
        print(label)
    for finding in found:
        share = len(finding.rows) / len(material.rows)
        print(f"{label}  {finding.kind:18} {len(finding.rows):5,} ({share:.2%})", flush=True)
        for one in finding.excerpts if show else ():
            marked = [one.text[low:high] for low, high in one.spans]
            print(f"    {one.location} {one.column}: {marked or one.text[:200]!r}")


def _examples(file: Path, asked: Sequence[str], given: str) -> Iterator[Example]:
    for number, row in enumerate(_rows(file)):
        text = "\n\n".join(filter(None, (_text(row.get(name)) for name in asked)))
        answer = _text(row.get(given))
        if text and answer:
            yield Example(str(number), (Message("user", text),), answer, location=f"{file.name}:{number + 1}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if value is not None else ""


def _rows(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        if file.suffix == ".jsonl":
            return [json.loads(line) for line in lines]
        if file.suffix == ".json":
            found: list[dict[str, Any]] = json.load(lines)
            return found
        return list(csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
