"""Test a handover threshold on banking77: its error rate on the test, and how many out-of-scope
questions it hands over.

A fifth of the labels is left out of training and dev; their rows are the out-of-scope questions.
The other rows are compared with `handover: 0.05` and only the baseline. Printed are the errors
among the answered test rows with their interval, the share of rows handed over, and the share of
out-of-scope questions handed over: by confidence times nearness, and by confidence alone with the
same share of answered rows. Then the stored predictions are split again 200 times: a quarter is
used for recalibration and the threshold, and errors are counted in the others.

    python bench/handover.py [SEED ...]
        needs ETUDE_DATA (see CONTRIBUTING.md); about a minute a seed
    python bench/handover.py RUN [RIGHT]
        the stored predictions of texts in a run's folder; seconds
    python bench/handover.py SET:ROWS ...
        few rows (sets of choices.py): 50 dev rows against cross-validation

For texts, printed is for each method how many of the most confident answers are wrong, with
confidences from rows that they were not fitted on, and what hand-over with several guarantees does
in 200 resplits. An answer is right if its score is at least RIGHT (default 1). For few rows, labels
are answered as labels and as texts by the baseline, in `NUM_DRAWS` draws with a guarantee of 5%.
"""

import json
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from choices import draw_rows, make_rows, read_set
from real_sets import read_rows

from etude.assistant import Assistant, load
from etude.base.files import read_json
from etude.comparison import compare
from etude.comparison.handover import (
    add_answer_confidence,
    add_handover,
    add_recalibration,
    choose_handover,
)
from etude.data.dataset import load_dataset
from etude.evaluate import ScoredAnswer, evaluate
from etude.index.build import DEFAULT_ENCODER, load_task_encoder
from etude.index.passages import Passage
from etude.index.search import Search
from etude.methods.baseline import METHOD, KnownVectors
from etude.methods.shared.fit_context import FitContext, initial_assistant
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.runs import Run
from etude.stats import estimate, wilson
from etude.stats.answer_confidence import fit_confidence
from etude.stats.calibration import estimate_auroc
from etude.task import RowSource, Task, load_task
from etude.task.definition import Handover
from etude.types import Answer, Example, Message, ModelRef, Score

PROMISE = 0.05
TASK = (
    "name: bank\n"
    "kind: classify\n"
    "model: fake\n"
    "encoder: all-minilm-l6-v2\n"
    "examples: rows.jsonl\n"
    "methods: [baseline]\n"
    "handover: {}\n"
    "seed: {}\n"
)
PROMISES = (0.05, 0.1, 0.2, 0.3)
SHARES = (0.25, 0.5, 0.75, 1.0)
MIN_ROWS = 200
NUM_DEV = 50
NUM_DRAWS = 20


def main() -> None:
    """Prints one line for each seed, or for each method of a run."""
    if sys.argv[1:] and Path(sys.argv[1]).is_dir():
        measure_run(Run(Path(sys.argv[1])), float([*sys.argv, 1][2]))
        return
    if ":" in "".join(sys.argv[1:]):
        for which in sys.argv[1:]:
            measure_draws(which)
        return
    rows = read_rows("banking77/train.csv")
    for seed in [int(text) for text in sys.argv[1:]] or [0, 1, 2]:
        labels = sorted({row["category"] for row in rows})
        left_out = set(random.Random(seed).sample(labels, len(labels) // 5))
        with tempfile.TemporaryDirectory() as folder:
            print(
                json.dumps(
                    {
                        "seed": seed,
                        "outside": len(left_out),
                        **measure(Path(folder), rows, left_out, seed),
                    }
                )
            )


def measure(
    folder: Path, rows: list[dict[str, str]], outside: set[str], seed: int
) -> dict[str, object]:
    """Compares on the remaining labels, and asks the assistant the questions of the labels that
    were left out.
    """
    inside = [row for row in rows if row["category"] not in outside]
    lines = (json.dumps({"input": row["text"], "output": row["category"]}) + "\n" for row in inside)
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK.format(PROMISE, seed), encoding="utf-8")
    run = compare(folder / "task.yaml").run
    test = [line for line in run.read_predictions("baseline") if line["side"] == "test"]
    answered = [line for line in test if not line.get("handed_over")]
    num_wrong = sum(line["score"] < 1 for line in answered)
    out_of_scope = [row["text"] for row in rows if row["category"] in outside]
    assistant = load(run.assistant_folder("baseline"))
    answers = assistant.answer(out_of_scope)
    low, high = wilson(num_wrong, len(answered)) if answered else (0.0, 1.0)
    # the confidence above which the same number of test rows is answered
    same_share = sorted((line["confidence"] for line in test), reverse=True)[len(answered) - 1]
    alone = sum((answer.confidence or 0.0) < same_share for answer in answers)
    return {
        "threshold": assistant.handover,
        "recalibrated": assistant.recalibration is not None,
        "out_of_scope_handed_over_by_confidence": alone / len(out_of_scope),
        "resplits": resplit(run.read_predictions("baseline"), "classify", (PROMISE,)),
        "test": len(test),
        "answered": len(answered) / len(test),
        "errors_answered": [num_wrong / max(1, len(answered)), low, high],
        "errors_all": sum(line["score"] < 1 for line in test) / len(test),
        "promise": PROMISE,
        "out_of_scope": len(out_of_scope),
        "out_of_scope_handed_over": sum(answer.handed_over for answer in answers)
        / len(out_of_scope),
    }


def measure_draws(which: str) -> None:
    """Prints for labels and texts, and for rows of dev and of cross-validation: how often a
    threshold is found and the guarantee kept on the test, the mean share that is answered, and that
    of wrong answers.
    """
    name, _, size = which.partition(":")
    pool, held_back = read_set(name)
    models = Models()
    test = make_rows(held_back, "test")
    encoder = models.load_shared_encoder(DEFAULT_ENCODER)
    draws = [draw_rows(pool, name, int(size), seed) for seed in range(NUM_DRAWS)]
    texts = dict.fromkeys(text for rows in (held_back, *draws) for text, _ in rows)
    encoder.embed = KnownVectors(encoder, [*texts]).embed  # each text is embedded once
    for kind in ("answer", "classify"):
        counts = defaultdict(list)
        for seed, drawn in enumerate(draws):
            dev = make_rows(drawn[:NUM_DEV], "dev")
            train = make_rows(drawn[NUM_DEV:], "train")
            task = make_task(kind, Handover(PROMISE), seed)
            with tempfile.TemporaryDirectory() as folder:
                context = FitContext(
                    models, choose_metric(task, train), Path(folder, "fit"), seed=seed
                )
                fitted = METHOD.fit(task, train, dev, initial_assistant(task, train, None), context)
                for rows in ((), context.held_out):
                    search = Path(folder, "training")
                    assistant, *_ = choose_handover(
                        fitted, task, train, context.chosen_scored, models, search, rows
                    )
                    scored = evaluate(assistant, models, test, context.metric)
                    wrong = [row.score.value < 1 for row in scored if not row.answer.handed_over]
                    counts[len(rows) or NUM_DEV].append((len(wrong), sum(wrong)))
        for num_rows, pairs in counts.items():
            answered, wrong = np.array(pairs).T
            print(
                f"{which}, {kind}, decided on {num_rows} rows: found {np.mean(answered > 0):.0%}, "
                f"kept {np.mean(wrong <= PROMISE * answered):.0%}, answered "
                f"{answered.mean() / len(test):.1%}, wrong "
                f"{wrong.sum() / max(1, answered.sum()):.1%}",
                flush=True,
            )


def measure_run(run: Run, right: float) -> None:
    """Prints the risk at several shares of answers of each method, and the resplits."""
    task, dataset = load_dataset(load_task(run.task_file))
    train = set(read_json(run.folder / "split.json")["train"])
    encoder = load_task_encoder(task, Models(), [])
    questions = [row.input[-1].content for row in dataset if row.id in train]
    passages = [Passage("", "train")] * len(questions)
    search = Search(passages, "meaning", encoder, encoder.embed(questions)) if encoder else None
    for method in run.fitted_methods:
        lines = run.read_predictions(method)
        lines = [line for line in lines if line.get("signals")]
        if len(lines) < MIN_ROWS or len({line["score"] >= right for line in lines}) < 2:
            continue
        nearness = search.measure_nearness([line["input"] for line in lines]) if search else []
        for line, value in zip(lines, nearness, strict=bool(search)):
            line["signals"]["nearness"] = value
        hits = [line["score"] >= right for line in lines]
        units = [line["unit"] for line in lines]
        fitted, scores = fit_confidence([line["signals"] for line in lines], hits, units)
        auroc = estimate_auroc(scores, hits, units)
        order = sorted(range(len(lines)), key=lambda row: -scores[row])
        surest = {share: order[: max(1, round(share * len(order)))] for share in SHARES}
        risks = {
            share: estimate([not hits[row] for row in rows], None) for share, rows in surest.items()
        }
        body: dict[str, object] = {
            "method": method,
            "rows": len(lines),
            "auroc": [round(value, 3) for value in (auroc.value, auroc.low, auroc.high)],
            "wrong": {
                share: [round(100 * value, 1) for value in (risk.value, risk.low, risk.high)]
                for share, risk in risks.items()
            },
            "slopes": {
                name: round(slope, 3)
                for name, slope in zip(fitted.signals, fitted.slopes, strict=True)
            },
        }
        print(json.dumps(body | resplit(lines, "rewrite", PROMISES, right)), flush=True)


def resplit(
    lines: list[dict[str, Any]],
    kind: str,
    promises: Sequence[float],
    right: float = 1.0,
    num: int = 200,
) -> dict[str, dict[str, float]]:
    """Returns for each guarantee how often the error rate is kept if other rows are dev, how often
    a threshold is found, and the mean share of answered rows.
    """
    draw = random.Random(0)
    base = Assistant("", kind, ModelRef("fake"))
    shares: dict[float, list[float]] = {promise: [] for promise in promises}
    num_kept = dict.fromkeys(promises, 0)
    for _ in range(num):
        rows = [make_scored_answer(line) for line in draw.sample(lines, len(lines))]
        dev = rows[: len(rows) // 4]
        test = rows[len(rows) // 4 :]
        if kind == "classify":
            rater, dev, _ = add_recalibration(base, dev, 0)
            dev = [
                replace(row, answer=rater.rate(row.answer, row.answer.confidence)) for row in dev
            ]
        else:
            rater, dev, _ = add_answer_confidence(base, Handover(right=right), dev, 0)
        test = [replace(row, answer=rater.rate(row.answer, row.answer.confidence)) for row in test]
        for promise in promises:
            assistant, _ = add_handover(rater, make_task(kind, Handover(promise, right)), dev)
            answered = [row for row in test if not assistant.hand_over(row.answer).handed_over]
            num_wrong = sum(row.score.value < right for row in answered)
            num_kept[promise] += num_wrong <= promise * len(answered)
            shares[promise].append(len(answered) / len(test))
    return {
        f"at most {promise:.0%}": {
            "kept": num_kept[promise] / num,
            "found": sum(map(bool, shares[promise])) / num,
            "answered": round(sum(shares[promise]) / num, 3),
        }
        for promise in promises
    }


def make_scored_answer(line: dict[str, Any]) -> ScoredAnswer:
    """Restores what hand-over needs from a line of predictions.jsonl."""
    question = (Message("user", line["input"]),)
    confidence = line.get("stated_confidence", line.get("confidence"))
    signals = line.get("signals", {})
    answer = Answer(
        "", line["answer"], None, None, (), confidence, 0, 0, 0, 0.0, False, signals=signals
    )
    example = Example(line["id"], question, line["expected"], group=line["unit"])
    return ScoredAnswer(
        example, replace(answer, nearness=line.get("nearness")), Score(line["score"], None, None), 0
    )


def make_task(kind: str, handover: Handover, seed: int = 0) -> Task:
    """Makes a task that only hands over."""
    return Task(kind, kind, "fake", RowSource(Path()), Path(), Path(), handover=handover, seed=seed)


if __name__ == "__main__":
    main()
