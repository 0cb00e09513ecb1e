"""Compare methods on snips slots (text to JSON): fixed or similar examples in the prompt, and an enforced JSON schema.

    python bench/snips_slots.py --budget 6m

Every answer is an object of slots, each a list of texts. Rows: the first 100 of each intent of train.jsonl; the test is
validate.jsonl. Data: the folder named by ETUDE_DATA, else ../shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from real_sets import DATA, write_lines

from etude.cli import main as etude
from etude.comparison import compare

PER_INTENT = 100
TASK = """
name: snips_slots
kind: extract
model: smollm2-135m-instruct
examples: examples.jsonl
test: test.jsonl
instructions: Which slots does this request fill? Answer with a JSON object of slots, each a list of texts.
contract: {json_schema: schema.json}
methods: [METHODS]
"""


def main() -> None:
    """Runs the comparison; prints for each method how many answers satisfy the schema, and answers per second."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default="few_shot, similar_shot, constrained")
    parser.add_argument("--budget", default="6m")
    parser.add_argument("--folder", type=Path, help="folder for the run; default: a temporary folder")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        task = write_task(flags.folder or Path(temporary), flags.methods)
        if etude(["compare", str(task), "--yes", "--budget", flags.budget]):
            sys.exit(1)
        run = compare(task).run
        for name in run.fitted_methods:
            lines = [line for line in run.read_predictions(name) if line["side"] == "test"]
            seconds = sum(line["seconds"] for line in lines)
            num_kept = sum(line["keeps_contract"] for line in lines)
            print(
                f"{name}: {num_kept} of {len(lines)} keep the schema; {len(lines) / seconds:.2f} answers a second"
            )


def write_task(folder: Path, methods: str) -> Path:
    """Creates a task folder: requests, their slots as JSON, and the schema of all slots of train."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (list(read_rows(file)) for file in ("train.jsonl", "validate.jsonl"))
    num_by_intent: Counter[str] = Counter()
    examples = []
    for row in train:
        num_by_intent[row["intent"]] += 1
        if num_by_intent[row["intent"]] <= PER_INTENT:
            examples.append(row)
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    names = sorted({name for row in train for name in row["slots"]})
    schema = {"type": "object", "properties": dict.fromkeys(names, texts), "additionalProperties": False}
    (folder / "schema.json").write_text(json.dumps(schema), encoding="utf-8")
    for file, rows in (("examples.jsonl", examples), ("test.jsonl", test)):
        slots = (
            {"input": row["text"], "output": json.dumps(row["slots"], ensure_ascii=False)} for row in rows
        )
        write_lines(folder / file, list(slots))
    (folder / "task.yaml").write_text(TASK.replace("METHODS", methods).lstrip(), encoding="utf-8")
    return folder / "task.yaml"


def read_rows(file: str) -> Iterator[dict[str, Any]]:
    """Reads the rows of a file. Exits with the reason if it does not exist."""
    path = DATA / "snips_intents" / file
    if not path.is_file():
        sys.exit(f"{path} is not there; set ETUDE_DATA to the folder that holds it")
    yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
