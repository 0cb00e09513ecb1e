"""A made-up run folder with every file a real one has: deterministic, and no model needed.

The task is a robot librarian's: a request in, four lines out. Answers are drawn, not measured; the
verdict on them is the real one. For states that a real comparison cannot be brought into: texts
that attack the page, many rows, long answers. Elsewhere see `real_runs`; a test holds the keys of
both alike.
"""

import hashlib
import json
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.comparison.decide import make_verdict
from etude.metrics import Metric
from etude.runs.verdict import (
    HeadlinePair,
    Verdict,
    VerdictInputs,
    build_method_result,
    build_scored_rows,
    write_verdict,
)
from etude.task import Prices, Usage

METHODS = ("baseline", "prompt", "clear_prompt", "few_shot", "fine_tune")
LABELS = {
    "baseline": "Nearest example",
    "prompt": "The prompt as given",
    "clear_prompt": "A clearer prompt",
    "few_shot": "Examples in the prompt",
    "fine_tune": "Fine-tuned",
}
RIGHT = {
    "baseline": 0.24,
    "prompt": 0.05,
    "clear_prompt": 0.22,
    "few_shot": 0.45,
    "fine_tune": 0.86,
}
PROMPT_TOKENS = {
    "baseline": 0,
    "prompt": 148,
    "clear_prompt": 236,
    "few_shot": 611,
    "fine_tune": 64,
}
CACHED_TOKENS = {
    "baseline": 0,
    "prompt": 120,
    "clear_prompt": 208,
    "few_shot": 580,
    "fine_tune": 30,
}
SECONDS = {
    "baseline": 0.002,
    "prompt": 0.81,
    "clear_prompt": 0.84,
    "few_shot": 1.02,
    "fine_tune": 0.55,
}
FIT_SECONDS = {"baseline": 1.4, "clear_prompt": 96.0, "few_shot": 171.0, "fine_tune": 412.5}
TRAIN_SECONDS = {"baseline": 1.3, "fine_tune": 371.0}

THEMES = ("space", "friendship", "dragons", "the sea", "detectives", "animals")
AGES = ("3-5", "6-8", "9-12")
SEALED = " (sealed words)"
OPENERS = (
    "Hi! My daughter is {age} and cannot get enough of {theme}. What should we read next?",
    "Looking for a book about {theme} for a class of {age} year olds, please.",
    "do you have anything with {theme}?? my nephew turned {age}",
    "We loved the last one. Something on {theme} again, ages {age}, not too long?",
)
TITLES = (
    "The Lantern Fox",
    "Nine Small Moons",
    "Captain Quill",
    "A Map of Whispers",
    "Moss and the Tide",
)


@dataclass(frozen=True)
class Made:
    """One made-up row."""

    id: str
    side: str
    input: str
    expected: str
    theme: str
    ages: str


def write_run_folder(
    folder: Path,
    *,
    dev: int = 120,
    test: int = 200,
    status: str = "complete",
    finished: tuple[str, ...] = METHODS,
    spice: str = "",
    long_answers: int = 0,
) -> Path:
    """Writes the run folder and returns it.

    Every text of a test row holds SEALED, so that a reader can be shown to leave it out.
    `finished` names the methods that have predictions; with fewer than all, there is no verdict and
    the next method's predictions end in a torn line. `spice` is put into every text that a user
    could have written. `long_answers` adds that many characters to every answer.
    """
    rows = [_row(n, "dev", spice) for n in range(dev)] + [
        _row(n, "test", spice) for n in range(test)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "run.json", _run(dev, test, status, spice))
    (folder / "task.yaml").write_text(
        "name: luma\nkind: answer\nexamples: examples.jsonl\n", encoding="utf-8"
    )
    _write(
        folder / "split.json", {"train": [], "dev": _ids(rows, "dev"), "test": _ids(rows, "test")}
    )
    _write_lines(folder / "findings.jsonl", _findings(spice))
    for name in finished:
        _write_method(folder / "methods" / name, name, rows, spice, long_answers)
    if finished == METHODS:
        write_verdict(folder / "verdict.json", _verdict(rows, spice))
    else:
        _write_torn(folder / "methods" / METHODS[len(finished)])
    return folder


def _row(number: int, side: str, spice: str) -> Made:
    rng = random.Random(f"{side}{number}")
    theme = rng.choice(THEMES)
    ages = rng.choice(AGES)
    words = rng.choice(OPENERS).format(theme=theme, age=ages.split("-")[0])
    end = spice + (SEALED if side == "test" else "")
    return Made(
        f"{side}-{number:04d}",
        side,
        words + end,
        _answer(rng, theme, ages, "") + end,
        theme + spice,
        ages,
    )


def _answer(rng: random.Random, theme: str, ages: str, fault: str) -> str:
    lines = [
        f"Title: {rng.choice(TITLES)}",
        f"Ages: {ages}",
        f"Why you might like it: It is all about {theme}, with a friend on every page.",
    ]
    if fault.startswith("missing field: Ages"):
        del lines[1]
    if rng.random() < 0.3:
        lines.append("Gentle note: one stormy night may feel a little scary.")
    return "\n".join(lines)


def _prediction(name: str, row: Made, spice: str, long_answers: int) -> dict[str, Any]:
    rng = random.Random(f"{name}{row.id}")
    draw = rng.random()
    right = draw < RIGHT[name]
    failures = [] if right or draw < RIGHT[name] + 0.25 else [_failure(rng) + spice]
    text = row.expected if right else _answer(rng, rng.choice(THEMES), row.ages, "".join(failures))
    cut = not right and rng.random() < 0.05
    return {
        "side": row.side,
        "id": row.id,
        "location": "rows.jsonl:1",
        "unit": row.id,
        "group": None,
        "tags": {"theme": row.theme, "age": row.ages},
        "input": row.input,
        "expected": row.expected,
        "references": [],
        "answer": text
        + ("" if right else spice + (SEALED if row.side == "test" else ""))
        + "long " * (long_answers // 5),
        "value": None,
        "score": float(right),
        "keeps_contract": not failures,
        "check": float(right or (not failures and draw < RIGHT[name] + 0.1)),
        "other_metrics": {
            "exact_match": float(right),
            "token_f1": round(0.4 + 0.6 * right, 3),
            "chrf": round(0.5 + rng.random() / 2, 3),
        },
        "failures": failures,
        "confidence": None,
        "signals": {"form": float(not failures)},
        "truncated": cut,
        "shots_dropped": 0,
        "prompt_tokens": PROMPT_TOKENS[name] + len(row.input) // 5,
        "cached_tokens": CACHED_TOKENS[name],
        "answer_tokens": 44 + rng.randrange(12),
        "seconds": round(SECONDS[name] * (0.8 + 0.4 * rng.random()), 4),
        "batch": int(row.id.split("-")[1]) // 16,
    }


def _failure(rng: random.Random) -> str:
    return rng.choice(
        ("missing field: Ages", "missing field: Ages", "unexpected line", "over 60 words")
    )


def _write_method(folder: Path, name: str, rows: list[Made], spice: str, long_answers: int) -> None:
    (folder / "assistant").mkdir(parents=True, exist_ok=True)
    _write(folder / "assistant" / "assistant.json", {"method": name})
    _write_lines(
        folder / "predictions.jsonl", [_prediction(name, row, spice, long_answers) for row in rows]
    )
    _write(folder / "method.json", _method(name, spice))
    if name == "fine_tune":
        _write_lines(folder / "train.jsonl", _training())


def _method(name: str, spice: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": LABELS[name] + spice,
        "tuned": name == "fine_tune",
        "model": "smollm2-135m-instruct",
        "fit_seconds": FIT_SECONDS.get(name, 0.0),
        "train_seconds": TRAIN_SECONDS.get(name, 0.0),
        "learned": {"baseline": 1800, "fine_tune": 1680}.get(name),
        "dev_rows": 120,
        "raced_out": False,
        "look": "work",
        "is_cut": False,
        "num_candidates": 3,
        "full_seconds": None,
        "row_seconds": 0.1,
        "candidates": _candidates(name, spice),
        "notes": ["Rank 16 on all linear layers." + spice] if name == "fine_tune" else [],
        "prompt": "<|im_start|>system\n"
        "You are Luma, a robot librarian. Answer in four lines.<|im_end|>\n"
        "<|im_start|>user\n"
        f"Something about {THEMES[0]}, age 6?{spice}<|im_end|>\n"
        "<|im_start|>assistant\n",
        "params": _params(spice) if name == "fine_tune" else {},
    }


def _params(spice: str) -> dict[str, Any]:
    return {
        "settings": {"epochs": 3, "rank": 16, "learning_rate": 2e-3},
        "reasons": {"rank": "16 beat 8 on few rows" + spice, "learning_rate": "set by the user"},
        "best_epoch": 2,
        "supervision": [
            "1,680 rows: 90,000 tokens are learned (48%) and 97,000 only read." + spice
        ],
        "shown_rows": [
            {
                "row": "examples.jsonl:1",
                "reason": "longest, 9 tokens",
                "spans": [["a question" + spice, False], ["an answer", True]],
            }
        ],
    }


def _candidates(name: str, spice: str) -> list[dict[str, Any]]:
    if name == "clear_prompt":
        tried = (("as given", 0.04), ("contract in words", 0.2), ("answer skeleton", 0.23))
    elif name == "few_shot":
        tried = (("2 examples", 0.37), ("4 examples", 0.44), ("8 examples", 0.46))
    else:
        return []
    return [
        {
            "name": text + spice,
            "dev": _estimate(value, 120),
            "is_chosen": text in ("answer skeleton", "4 examples"),
            "reason": {
                "answer skeleton": "best on dev, more than one standard error ahead",
                "4 examples": "within one standard error of the best, and simpler",
            }.get(text, "more than one standard error behind the best"),
        }
        for text, value in tried
    ]


def _training() -> list[dict[str, Any]]:
    rng = random.Random(7)
    lines: list[dict[str, Any]] = []
    for step in range(1, 241):
        epoch = (step - 1) // 80 + 1
        loss = 0.55 + 1.9 * math.exp(-step / 38) + rng.gauss(0, 0.05) - 0.06 * (epoch - 1)
        lines.append(
            {"step": step, "epoch": epoch, "loss": round(loss, 4), "tokens": 2048, "seconds": 1.7}
        )
        if step % 80 == 0:
            dev_loss = (0.71, 0.655, 0.662)[epoch - 1]
            lines.append({"epoch": epoch, "dev_loss": dev_loss, "best": epoch == 2})
    return lines


def _write_torn(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictions.jsonl").write_text('{"side": "dev", "id": "dev-0', encoding="utf-8")


def _run(dev: int, test: int, status: str, spice: str) -> dict[str, Any]:
    return {
        "format": 1,
        "id": "4f1a02970b6f",
        "inputs": {"target": "0c7d1e", "examples": "91ab44"},
        "name": "luma" + spice,
        "kind": "answer",
        "task_file": "task.yaml",
        "status": status,
        "etude": "0.1.0",
        "python": "3.11.9",
        "platform": "Linux-6.1-x86_64",
        "packages": {"torch": "2.8.0", "transformers": "5.24.0"},
        "machine": {"cpu": "made-up CPU" + spice, "cores": 2, "memory_gb": 8.0},
        "seed": 0,
        "model": "smollm2-135m-instruct",
        "prompt_model": None,
        "engine": "local",
        "methods": list(METHODS),
        "fingerprints": {
            name: hashlib.sha256(name.encode()).hexdigest() for name in ("task", "examples", "test")
        },
        "metric": {
            "name": "passes",
            "label": "answers that pass the contract and the check",
            "reason": "because the task has a contract and a check",
            "contract_only": False,
        },
        "unit": "row",
        "margin": 0.02,
        "target": 0.9,
        "chats": False,
        "split": {
            "train": 1680,
            "dev": dev,
            "test": test,
            "notes": ["14 near-duplicates were kept on one side." + spice],
        },
        "power": [
            {"disagree": d, "difference": 2.8 * math.sqrt(d / max(test, 1))}
            for d in (0.1, 0.2, 0.3)
        ],
        "elapsed_seconds": 852.0,
        "asked": True,
        "evidence": False,
        "looks": {f"{name}/first": {"seconds": SECONDS[name]} for name in METHODS},
        "contenders": list(METHODS),
        "ended_early": False,
        "test_answered": dict.fromkeys(METHODS, test),
        "budget_seconds": 900.0,
        "power_on_dev": {"disagree": 0.2, "difference": 2.8 * math.sqrt(0.2 / max(test, 1))},
        "decided": {
            "untuned": "few_shot",
            "tuned": "fine_tune",
            "reasons": ["few_shot is best on dev, more than one standard error ahead." + spice],
        },
        "openings": 2,
        "notes": [
            "documents: not used yet, retrieval is not among the methods of this version." + spice
        ],
        "findings": _findings(spice),
    }


def _findings(spice: str) -> list[dict[str, Any]]:
    return [
        {
            "kind": "near_duplicates",
            "severity": "warning",
            "rows": ["dev-0001", "dev-0007"],
            "message": "14 rows say nearly the same as another row." + spice,
            "remedy": "Nothing to do: they stand on one side of the split.",
        },
        {
            "kind": "short_answers",
            "severity": "note",
            "rows": [],
            "message": "Answers have 38 words in the middle.",
            "remedy": "Nothing to do.",
        },
    ]


def _estimate(value: float, n: int) -> dict[str, Any]:
    """Wilson's interval, so that the made-up numbers look like real ones."""
    z = 1.96
    n = max(n, 1)
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"value": value, "low": max(0.0, centre - half), "high": min(1.0, centre + half), "n": n}


def _verdict(rows: list[Made], spice: str) -> Verdict:
    """The real verdict on the made-up answers, with `spice` in the sentences that users have a part
    in.
    """
    lines = {
        name: [_prediction(name, row, "", 0) for row in rows if row.side == "test"]
        for name in METHODS
    }
    test = build_scored_rows(next(iter(lines.values())), labels=False)
    methods = [
        build_method_result(
            name,
            lines[name],
            test.ids,
            tuned=name == "fine_tune",
            train_seconds=TRAIN_SECONDS.get(name, 0.0),
        )
        for name in METHODS
    ]
    inputs = VerdictInputs(
        rows=test,
        methods=methods,
        pair=HeadlinePair("few_shot", "fine_tune"),
        metric=Metric("passes", "answer", lambda example, text: True),
        model="smollm2-135m-instruct" + spice,
        total_rows=2_000,
        target=0.9,
        usage=Usage(facts_change="monthly", requests_per_month=2_000),
        prices=Prices(prompt=0.15, answer=0.6, per_hour=0.1),
        openings=2,
    )
    found = make_verdict(inputs)
    advice = tuple(replace(line, text=line.text + spice) for line in found.advice)
    return replace(found, advice=advice, sentence=found.sentence + spice)


def _ids(rows: list[Made], side: str) -> list[str]:
    return [row.id for row in rows if row.side == side]


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path.write_text(text, encoding="utf-8")
