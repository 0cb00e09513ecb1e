"""Compare all methods on real data with a budget; each run prints one line of docs/ladders.md.

    python bench/ladders.py sms_spam --budget 3m
    python bench/ladders.py rasbt_instructions --budget 8m --folder out
        saves the task and its run

The rows are not changed. `etude compare` runs as a user would start it, with `--yes`. Then one line
of a Markdown table is printed: the set, its rows, its time and budget, each method's score on the
test, and the recommended method.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from real_sets import DATA, prepare_task, write_lines

LINE = "| {name} | {kind} | {rows:,} | {taken:.1f} of {budget} | {scores} | {recommended} |"
INSTRUCTIONS = {
    "banking77": "Which intent does this message of a bank's customer have?",
    "sms_spam": "Is this message spam, or ham (a message that somebody wanted)?",
    "presidio_kinds": "Which kinds of personal data are in this text?",
    "pubmedqa_labelled": "Does the conclusion answer the question with yes, no or maybe?",
    "bbq_questions": "Read the text and the question about it.",
    "snips_slots": "Give what the request names as JSON: each slot with a list of the words that "
    "stand for it.",
    "ncbi_disease": "Give the diseases that the text names, word for word, as JSON with the key "
    "diseases.",
    "e2e_slots": "Give what the text says about the place as JSON, in the words of the text.",
    "ifeval_kinds": "Which kinds of constraints does this prompt set?",
    "mts_dialog": "Write the section of the clinical note that this talk of doctor and patient "
    "gives.",
    "rasbt_instructions": "Follow the instruction.",
}
EXTRA_LINES = {"mts_dialog": "max_tokens: 320\ntrain: {max_tokens: 4096}\n"}
"""Additional lines of a task: one row is longer than the default limit of training, and its answer
is seven times as long as 95% of the others, so an answer that does not end would take minutes.
"""
EXTRACTIONS = {
    "snips_slots": ("snips_intents", "train.jsonl", "validate.jsonl"),
    "ncbi_disease": ("ncbi_disease", "train.jsonl", "test.jsonl"),
    "e2e_slots": (
        "e2e_nlg",
        "cleaned_devel.csv",
        "cleaned_test.csv",
    ),  # its train file is not published there
}
SLOT = re.compile(r"(?:^|, )([^\[]+)\[([^]]*)\]")
"""A field of an e2e text, such as `eatType[coffee shop]`."""


def main() -> None:
    """Compares the methods and prints the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=INSTRUCTIONS)
    parser.add_argument("--budget", required=True, help="minutes, such as 8m")
    parser.add_argument(
        "--folder", type=Path, help="folder for the task; default: a temporary folder"
    )
    parser.add_argument(
        "--methods", help="only these methods, such as 'baseline, fine_tune_encoder'"
    )
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or Path(temporary)
        task = write_task(flags.set, folder)
        if flags.methods:
            with task.open("a", encoding="utf-8") as file:
                file.write(f"methods: [{flags.methods}]\n")
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "etude",
            "compare",
            str(task),
            "--budget",
            flags.budget,
            "--yes",
        ]
        exit_code = subprocess.run(
            command, check=False
        ).returncode  # exit code 1 is a normal result here
        minutes = (time.perf_counter() - started) / 60
        if exit_code not in (0, 1):
            sys.exit(exit_code)
        print(format_line(flags.set, find_newest_run(folder), minutes, flags.budget))


def write_task(name: str, folder: Path) -> Path:
    """Creates the task of a set, with instructions."""
    task = extraction(name, folder) if name in EXTRACTIONS else prepare_task(name, folder)
    with task.open("a", encoding="utf-8") as file:
        file.write(f"instructions: {json.dumps(INSTRUCTIONS[name])}\n{EXTRA_LINES.get(name, '')}")
    return task


def extraction(name: str, folder: Path) -> Path:
    """Creates a task of sentences with JSON answers. Its schema is the contract."""
    source, train, test = EXTRACTIONS[name]
    if not (DATA / source).is_dir():
        sys.exit(f"{source} is not at {DATA}; set ETUDE_DATA to the folder that holds it")
    folder.mkdir(parents=True, exist_ok=True)
    properties: dict[str, Any] = {}
    for side, file in (("train", train), ("test", test)):
        with (DATA / source / file).open(encoding="utf-8") as lines:
            rows = (
                list(csv.DictReader(lines))
                if file.endswith(".csv")
                else [json.loads(line) for line in lines]
            )
        answers = [build_answer(row) for row in rows]
        if side == "train":
            properties |= {
                key: {"type": "string"}
                if isinstance(value, str)
                else {"type": "array", "items": {"type": "string"}}
                for answer in answers
                for key, value in answer.items()
            }
        write_lines(
            folder / f"{side}.jsonl",
            [
                {
                    "input": row.get("text") or row["ref"],
                    "output": json.dumps(answer, ensure_ascii=False),
                }
                for row, answer in zip(rows, answers, strict=True)
            ],
        )
    properties = dict(sorted(properties.items()))
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    task = {
        "name": name,
        "kind": "extract",
        "model": "smollm2-135m-instruct",
        "contract": {"json_schema": schema},
    }
    task |= {"examples": "train.jsonl", "test": "test.jsonl"}
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in task.items()]
    (folder / "task.yaml").write_text("".join(lines), encoding="utf-8")
    return folder / "task.yaml"


def build_answer(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the slots of a row, or its diseases; of e2e, the fields whose value is in the text,
    as it is written there.
    """
    if "mr" in row:
        matches = {
            key: re.search(rf"(?<!\w){re.escape(value)}(?!\w)", row["ref"], re.IGNORECASE)
            for key, value in SLOT.findall(row["mr"])
            if key != "familyFriendly"  # its values, yes and no, are not words for it
        }
        return {key: match.group() for key, match in matches.items() if match}
    return (
        dict(row["slots"]) if "slots" in row else {"diseases": row["entities"].get("Disease", [])}
    )


def find_newest_run(folder: Path) -> Path:
    """Returns the latest run."""
    return max((folder / "runs").glob("*/verdict.json"), key=os.path.getmtime).parent


def format_line(name: str, run: Path, minutes: float, budget: str) -> str:
    """Formats one line of the table from the files of the run."""
    verdict = json.loads((run / "verdict.json").read_text(encoding="utf-8"))
    task = json.loads((run / "run.json").read_text(encoding="utf-8"))
    scores = ", ".join(format_score(each) for each in verdict["ladder"])
    about = {
        "name": name,
        "kind": task.get("kind", ""),
        "rows": verdict["test_rows"]["answered"],
        "taken": minutes,
    }
    return LINE.format(
        **about, budget=budget, scores=scores, recommended=verdict["recommended"] or "not decided"
    )


def format_score(step: dict[str, Any]) -> str:
    """Formats a result as `few_shot 61.3 (57.0 to 65.4)`, in bold if it is among the best."""
    value, low, high = (step["estimate"][key] * 100 for key in ("value", "low", "high"))
    text = f"{step['method']} {value:.1f} ({low:.1f} to {high:.1f})"
    return f"**{text}**" if step["status"] == "among the best" else text


if __name__ == "__main__":
    main()
