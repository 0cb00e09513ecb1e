"""Records what Étude writes for a set of small cases, and compares a later state of the code with the record.

    python tools/goldens.py record FOLDER [--quick] [--only CASE ...]
    python tools/goldens.py compare FOLDER [--quick] [--only CASE ...]

For changes that must change no result: record before, compare after. Each case runs `python -m etude` with the
interpreter of this script, so PYTHONPATH says which code. A case becomes FOLDER/CASE.json: file -> content, without
times, memory, versions and absolute paths. `compare` prints the first differences and exits with 1.

    checks        findings and their text for real sets (ETUDE_DATA, else ../shared/data beside the checkout)
    comparisons   the fake model; every file of the run, and what bench/rescore.py recomputes
    killed        the same comparison killed, then stopped, and gone on: equal to the one that was not
    real          the packaged model: comparisons and trainings; weights as a hash (left out by --quick)

Weights, scores and losses of the real model are equal to the last bit on one machine with the same packages only:
record and compare on the same one. Each case has one thread, so that other work on the machine slows it least.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data"))
REAL = "smollm2-135m-instruct"
TOLD = ("fake_classify", "fake_extract")
"""Comparisons of which the printed lines count."""
COMPARE = ("compare", "task.yaml", "--yes")
SHOWN = 5
"""Differences printed of each file."""
DROPPED = re.compile(
    r"seconds|\w+_seconds|break_even|minutes|lines|memory|\w*memory_gb|etude|python|platform|packages|machine|within_reach"
)
"""Keys that are left out."""
TIMED = re.compile(
    r"\d ?(?:ms|s|min|h|seconds?|minutes?|hours?|[MG]B)\b|under a minute|seconds:|\bearns?\b|Timing"
)
"""Text that speaks of measured time, memory or disk."""

# The cases

SETS = {
    "banking77": ("classify", "train.csv", "input: text, output: category", 1_500),
    "sms_spam": ("classify", "sms.tsv", "input: text, output: label", 1_500),
    "snips_intents": ("classify", "train.jsonl", "input: text, output: intent", 1_500),
    "rasbt_instructions": (
        "answer",
        "instruction-data.json",
        "input: [instruction, input], output: output",
        0,
    ),
    "mts_dialog": ("rewrite", "TrainingSet.csv", "input: dialogue, output: section_text", 0),
    "e2e_nlg": ("rewrite", "cleaned_devel.csv", "input: mr, output: ref", 1_000),
    "medquad_sample": ("answer", "medquad.jsonl", "input: question, output: answer", 800),
}
"""Set -> kind, file, columns, and how many of its first rows are taken (0: all)."""
CHECK = "def fits(example, answer):\n    return len(answer) % 5 != 0 and answer[-1:] == example.output[-1:]\n"
FIELDS = (
    'contract:\n  fields: [Title, Ages, "Note?"]\n  max_words: 9\ncheck: checks.py:fits\nmax_tokens: 16\n'
)
SCHEMA = "margin: 0.05\nseed: 4\ncontract:\n  json_schema: {type: object, required: [theme, age]}\n"
PRICES = "prices: {prompt: 1, answer: 4, per_hour: 0.001, data: 5}\n"
USE = f"target: 0.6\n{PRICES}usage: {{requests_per_month: 9000, facts_change: yearly}}\n"
SLOW = ("answer", "fake:delay=0.02", 160, f"{FIELDS}train: {{epochs: 1, max_rows: 32}}\n")
FEW = "budget: 1s\nmethods: [few_shot, fine_tune]\ntrain: {epochs: 1, max_rows: 24, rank: 4}\n"
"""The smallest plan, however fast the machine is."""
TOP = "seed: 5\ntrain: {epochs: 2, lora_layers: top-8, learning_rate: 0.001}\n"
SMALL = {
    "fake_classify": ("classify", "fake", 240, USE),
    "fake_extract": ("extract", "fake:context=900", 200, SCHEMA),
    "fake_answer": SLOW,
    "killed": SLOW,
    "train_answer": ("answer", REAL, 50, "train: {epochs: 1, rank: 4}\n"),
    "train_classify": ("classify", REAL, 50, TOP),
    "real_answer": ("answer", REAL, 150, FIELDS + FEW),
    "real_classify": ("classify", REAL, 150, "methods: [baseline, prompt]\n"),
}
"""Case -> kind, model, number of made-up rows, and what else stands in the task file."""


def cases(quick: bool) -> list[str]:
    """Names of the cases, in the order in which they run."""
    real = [name for name, (_, model, *_) in SMALL.items() if model == REAL]
    fake = [name for name in SMALL if name not in real]
    return [*fake, *(f"check_{name}" for name in SETS), *([] if quick else real)]


def produced(case: str, folder: Path) -> dict[str, Any]:
    """File -> content of what the code writes for one case."""
    if case not in SMALL:
        return checked(case.removeprefix("check_"), folder)
    write_small(folder, *SMALL[case])
    if case.startswith("train"):
        etude(folder, "train", "task.yaml", "--yes")
        return run_files(folder)
    found = compared(folder, kills=case == "killed")
    if case not in TOLD:  # a slow run prints how far it is
        del found["stdout"]
    return found


def write_set(folder: Path, name: str) -> None:
    """Writes the task file of a real set, with the first rows of its file beside it."""
    kind, file, columns, most = SETS[name]
    source = DATA / name / file
    if not source.exists():
        sys.exit(f"{source} is not there; set ETUDE_DATA to the folder that holds the sets")
    copy = folder / file
    with source.open(encoding="utf-8", newline="") as lines, copy.open("w", newline="") as out:
        if file.endswith(".csv"):
            csv.writer(out).writerows(islice(csv.reader(lines), most + 1 if most else None))
        elif file.endswith(".json"):
            copy = copy.with_suffix(".jsonl")
            copy.write_text("".join(json.dumps(row) + "\n" for row in json.load(lines)), encoding="utf-8")
        else:
            out.write("label\ttext\n" if name == "sms_spam" else "")  # the file does not name its columns
            out.writelines(islice(lines, most or None))
    examples = f"examples: {{file: {copy.name}, {columns}}}\n"
    (folder / "task.yaml").write_text(f"name: {name}\nkind: {kind}\nmodel: {REAL}\n{examples}")


def write_small(folder: Path, kind: str, model: str, num: int, more: str) -> None:
    """Writes a task with made-up rows, of which a few are wrong in ways that a check finds."""
    draw = random.Random(f"{kind}/{num}")
    rows: list[dict[str, Any]] = []
    for number in range(num):
        theme, age = draw.choice(("dragons", "trains", "the sea", "ghosts", "winter")), draw.randint(3, 12)
        words = " ".join("".join(draw.choices("abcdefghijklmnop", k=5)) for _ in range(3))
        start = draw.choice(("Please find", "We want", "Is there"))
        asked = f"{start} {number} {words} about {theme}, age {age}"
        output = {
            "answer": f"Title: All about {theme}\nAges: {age}",
            "classify": theme,
            "extract": json.dumps({"theme": theme, "age": age}),
        }[kind]
        rows.append({"input": asked, "output": output, "tags": {"theme": theme}})
    rows[4]["input"] += f". Write to mary.jones@{'mail'}.example.org, 020 7946 0958"
    rows[9] = rows[8]
    rows[13] = {**rows[12], "output": rows[17]["output"]}
    lines = (json.dumps(row) + "\n" for row in rows)
    (folder / "examples.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "checks.py").write_text(CHECK)
    asks = "examples: examples.jsonl\ninstructions: You are a librarian. Say what fits, and nothing else.\n"
    (folder / "task.yaml").write_text(f"name: small\nkind: {kind}\nmodel: {model}\n{asks}{more}")


# What is run


def checked(name: str, folder: Path) -> dict[str, Any]:
    """The findings of a real set; of smaller ones their text too."""
    write_set(folder, name)
    etude(folder, "check", "task.yaml", "--format", "json", "-o", "findings.json")
    found = {"findings.json": content(folder / "findings.json", folder)}
    if SETS[name][3] > 1_000:
        return found
    return {**found, "stdout": etude(folder, "check", "task.yaml").splitlines()}


def compared(folder: Path, kills: bool = False) -> dict[str, Any]:
    """The files of a comparison, what it prints, and what bench/rescore.py recomputes."""
    if kills:
        etude(folder, *COMPARE, kill=signal.SIGKILL, at="runs/*/methods/few_shot/work/answers/*")
        etude(folder, *COMPARE, kill=signal.SIGTERM, at="runs/*/methods/clear_prompt/predictions.jsonl")
    output = etude(folder, *COMPARE)
    found = run_files(folder)
    (run,) = (file.parent for file in folder.glob("runs/*/run.json"))
    command = [sys.executable, str(ROOT / "bench" / "rescore.py"), str(run)]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [
        line
        for line in again.stdout.splitlines()
        if not re.search(r"second|time|earn|even|cost|^\d+ comparisons", line)
    ]
    found["rescore"] = {"exit": again.returncode, "table": lines, "error": again.stderr}
    return {**found, "stdout": plain_text(output, folder)}


def etude(folder: Path, *arguments: str, kill: int = 0, at: str = "") -> str:
    """What a command prints in `folder`. With `kill`, it gets that signal once a path like `at` is there."""
    command = [sys.executable, "-m", "etude", *arguments]
    code = [str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    settings = {
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "110",
        "NO_COLOR": "1",
        "PYTHONPATH": os.pathsep.join(code),
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | settings, stdout=pipe, stderr=pipe, text=True
    ) as process:
        while kill and process.poll() is None:
            if any(folder.glob(at)):
                process.send_signal(kill)
                break
            time.sleep(0.005)
        output, errors = process.communicate()
    if bool(kill) != bool(process.returncode):
        sys.exit(f"{' '.join(command)} ended with {process.returncode}, signal {kill} at {at!r}:\n{errors}")
    return output


# What is kept


def run_files(folder: Path) -> dict[str, Any]:
    """The files of the only run in `folder`: texts as they are, weights as a hash."""
    (run,) = (file.parent for file in folder.glob("runs/*/run.json"))
    files = sorted(file for file in run.rglob("*") if file.is_file() and file.name != "lock")
    kept = [file for file in files if "work" not in file.parts or file.name == "rows.jsonl"]
    found = {str(file.relative_to(run)): content(file, folder) for file in kept if file.suffix != ".html"}
    return {"files": [str(file.relative_to(run.parent)) for file in files], **found}


def content(file: Path, folder: Path) -> Any:
    """A file's content without what differs from run to run."""
    if file.suffix == ".safetensors":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    text = no_paths(file.read_text(encoding="utf-8"), folder)
    if file.suffix not in (".json", ".jsonl"):
        return plain_text(text, folder) if file.suffix == ".md" else text.splitlines()
    by_line = file.suffix == ".jsonl"
    values: Any = [json.loads(line) for line in text.split("\n") if line] if by_line else json.loads(text)
    if file.stem == "findings":  # nothing in it is measured
        return values
    if file.name == "run.json":
        del values["id"]
    return without(values)


def without(value: Any) -> Any:
    """A value without times and versions, and without the sentences of a list that speak of time."""
    if isinstance(value, dict):
        return {key: without(inner) for key, inner in value.items() if not DROPPED.fullmatch(key)}
    return [without(inner) for inner in value if not timed(inner)] if isinstance(value, list) else value


def timed(value: Any) -> bool:
    """Whether an item of a list is a sentence that speaks of time."""
    text = value.get("text", "") if isinstance(value, dict) else value
    return isinstance(text, str) and bool(TIMED.search(text))


def plain_text(text: str, folder: Path) -> list[str]:
    """The paragraphs of a text that do not speak of time."""
    parts = re.split(r"\n\s*\n", no_paths(text, folder))
    return [part for part in parts if not TIMED.search(part)]


def no_paths(text: str, folder: Path) -> str:
    """A text with names in the place of folders of this machine."""
    return text.replace(str(folder), "FOLDER").replace(str(Path.home()), "HOME")


# Record and compare


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Where two values differ, with both sides."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key, "(absent)"), new.get(key, "(absent)"), f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{where}: {len(old)} items recorded, {len(new)} now"
        for at, (before, now) in enumerate(zip(old, new, strict=False)):
            yield from differences(before, now, f"{where}[{at}]")
    elif old != new or type(old) is not type(new):
        yield f"{where}:\n      recorded {json.dumps(old)[:1500]}\n      now      {json.dumps(new)[:1500]}"


def report(case: str, old: dict[str, Any], new: dict[str, Any]) -> int:
    """Prints the first differences of every file of a case; returns how many files differ."""
    differing = 0
    for file in {**old, **new}:
        found = list(differences(old.get(file, "(absent)"), new.get(file, "(absent)")))
        differing += bool(found)
        for line in found[:SHOWN]:
            print(f"  {case}: {file}{line}")
        if len(found) > SHOWN:
            print(f"  {case}: {file}: {len(found) - SHOWN} more differences")
    return differing


def main() -> None:
    """Runs the cases; records or compares each as soon as it has ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="leave the real model out")
    parser.add_argument("--only", nargs="+", metavar="CASE", help=f"of {', '.join(cases(quick=False))}")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    where = [sys.executable, "-c", "import etude; print(etude.__file__)"]
    print(f"Code: {subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()}")
    differing = 0
    for case in cases(asked.quick):
        if asked.only and case not in asked.only:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="goldens-") as made:
            new = produced(case, Path(made).resolve())
        record = asked.folder / f"{case}.json"
        if asked.action == "record":
            record.write_text(json.dumps(new, indent=1), encoding="utf-8")
            files = 0
        else:
            files = report(case, json.loads(record.read_text(encoding="utf-8")), new)
        if case == "killed":
            whole = json.loads((asked.folder / "fake_answer.json").read_text(encoding="utf-8"))
            files += report("killed against fake_answer", whole, new)
        differing += files
        told = f"{files} files differ" if files else "recorded" if asked.action == "record" else "equal"
        print(f"{case}: {told} ({time.monotonic() - started:.0f} s)", flush=True)
    if differing:
        sys.exit(f"{differing} files differ")


if __name__ == "__main__":
    main()
