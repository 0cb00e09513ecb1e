"""Work on one and on two workers, each with one core: speed, memory of the driver, and equality.

    python bench/scale.py rows FOLDER NUM       # NUM rows answered by a baseline assistant
    python bench/scale.py check FOLDER NUM      # NUM rows of check_scale.py with labels, checked

The texts are those of banking77 (ETUDE_DATA or ../shared/data), four labels for each customer; in
`rows`, words of some are exchanged, so that most rows differ. Each step is a process of its own,
whose largest memory is measured; its workers are other processes. An adapter is trained for one
epoch.
"""

import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from filecmp import cmp
from pathlib import Path

from check_scale import write_task as write_tickets
from real_sets import read_rows

FAKE = "model: fake\nencoder: none\n"
TUNED = "model: smollm2-135m-instruct\ntrain: {epochs: 1}\n"


def read_texts() -> list[tuple[str, str]]:
    return [(row["text"], row["category"]) for row in read_rows("banking77/train.csv")]


def measure(name: str, work: Callable[[], object]) -> None:
    """Do the work in a process of its own; print its seconds and its largest memory."""
    started = time.monotonic()
    if (process := os.fork()) == 0:
        result = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {time.monotonic() - started:,.1f} s, driver {peak:,.0f} MB{result or ''}",
            flush=True,
        )
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert status == 0, f"{name} failed"


def write_rows(file: Path, num: int, rng: random.Random) -> None:
    labels = ("card_arrival", "lost_or_stolen_card", "exchange_rate", "top_up_failed")
    texts = [pair for pair in read_texts() if pair[1] in labels]
    words = [word for text, _ in texts for word in text.split()]
    with file.open("w", encoding="utf-8") as stream:
        for number in range(num):
            text, label = texts[number % len(texts)]
            if number >= len(texts):
                text = " ".join(
                    rng.choice(words) if rng.random() < 0.5 else word for word in text.split()
                )
            stream.write(json.dumps({"text": f"{text} {number}", "label": label}) + "\n")


def write_task(folder: Path, name: str, file: str, more: str) -> Path:
    task = folder / f"{name}.yaml"
    source = f"examples: {{file: {file}, input: text, output: label}}\n"
    task.write_text(f"name: {name}\nkind: classify\n{source}{more}", encoding="utf-8")
    return task


def measure_rows(folder: Path, num: int) -> None:
    """Answer rows."""
    import etude

    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "small.jsonl", 1_000, random.Random(1))
    write_rows(folder / "many.jsonl", num, random.Random(2))
    small = write_task(folder, "small", "small.jsonl", f"{FAKE}methods: [baseline]\n")
    measure("compare", lambda: etude.compare(small) and None)
    run = next((folder / "runs").glob("small-*"))
    outputs = []
    for where in ("local", "ray?workers=2"):
        outputs.append(folder / f"answers-{where[:3]}.jsonl")
        outputs[-1].unlink(missing_ok=True)
        measure(
            f"predict, {where}",
            lambda where=where: (
                etude.predict(run, folder / "many.jsonl", outputs[-1], on=where) and None
            ),
        )
    print("equal:", cmp(*outputs, shallow=False))


def measure_check(folder: Path, num: int) -> None:
    """Check rows."""
    import etude

    folder.mkdir(parents=True, exist_ok=True)
    write_tickets(num, "classify", folder)

    def check(where: str) -> None:
        findings = etude.check(folder, on=where)
        (folder / f"findings-{where[:3]}").write_text(
            "\n".join(map(repr, findings)), encoding="utf-8"
        )

    for where in ("local", "ray?workers=2"):
        measure(f"check, {where}", lambda where=where: check(where))
    print("equal:", cmp(folder / "findings-loc", folder / "findings-ray", shallow=False))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    measurement = {"rows": measure_rows, "check": measure_check}[command]
    measurement(Path(arguments[0]), int(arguments[1]), *arguments[2:])
