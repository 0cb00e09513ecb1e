"""Decision models on the ladder: the share of right labels, and how far their probabilities hold
before and after recalibration, on banking77, sms_spam and xstest (as a yes-or-no question).

The decision model is a stand-in server that is right for four rows of five and says 97 to 99%.
Beside it the baseline. One line a method.

    python bench/decisions.py [banking77 | sms_spam | xstest ...]     needs ETUDE_DATA
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from real_sets import read_rows

from etude.comparison import compare

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from decision_server import DecisionServer, draw, serve_decisions

Rows = list[tuple[str, str]]
FILES = {
    "banking77": ("train.csv", "text", "category"),
    "sms_spam": ("sms.tsv", "text", "label"),
    "xstest": ("xstest_prompts.csv", "prompt", "label"),
}  # set -> file, columns of input and label
YES_OR_NO = {"safe": "no", "unsafe": "yes"}
INSTRUCTIONS = {
    "banking77": "What does the customer of the bank ask about?",
    "sms_spam": "Is this text message spam?",
    "xstest": "Would an answer to this question help somebody to do harm?",
}


def read_set(name: str) -> Rows:
    """Inputs with their labels."""
    file, text, label = FILES[name]
    rows = ((row[text], row[label].replace("_", " ")) for row in read_rows(f"{name}/{file}"))
    return [(text, YES_OR_NO.get(label, label)) for text, label in rows]


def measure(name: str, rows: Rows, model: str) -> None:
    """Compare the baseline and the stand-in on one set; print a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        lines = (json.dumps({"input": text, "output": label}) + "\n" for text, label in rows)
        Path(folder, "rows.jsonl").write_text("".join(lines), encoding="utf-8")
        task = Path(folder, "task.yaml")
        task.write_text(
            f"name: {name}\n"
            "kind: classify\n"
            "model: fake\n"
            "encoder: none\n"
            "examples: rows.jsonl\n"
            "metric: accuracy\n"
            f"instructions: {json.dumps(INSTRUCTIONS[name])}\n"
            "methods: [baseline, decide]\n"
            "budget: none\n"
            f"decision_model: {model}\n",
            encoding="utf-8",
        )
        run = compare(task, confirm=lambda question: True).run
        assert run.verdict is not None
        for row in run.verdict.ladder:
            calibration = run.verdict.details[row.method].calibration
            if calibration is None:
                continue
            before = calibration.before or calibration
            cost = run.verdict.costs[row.method]
            estimate = (row.estimate.value, row.estimate.low, row.estimate.high)
            line = {
                "set": name,
                "method": row.method if row.method == "baseline" else "stand-in",
                "n": row.estimate.n,
                "right": [round(100 * value, 1) for value in estimate],
                "overconfidence": round(100 * before.overconfidence.value, 1),
                "ece": [
                    round(100 * part.calibration_error.value, 1) for part in (before, calibration)
                ],
                "brier": [round(part.brier.value, 3) for part in (before, calibration)],
                "seconds": cost.seconds,
                "price_of_1000": None if cost.price is None else 1000 * cost.price,
            }
            print(json.dumps(line), flush=True)


def make_stand_in(rows: Rows) -> Callable[[str, list[str]], str]:
    """A decider that knows the labels of four rows of five."""
    gold = dict(rows)

    def decide(text: str, choices: list[str]) -> str:
        if draw(text) < 0.8:
            return gold[text]
        others = [choice for choice in choices if choice != gold[text]]
        return others[int(draw(text, "other") * len(others))]

    return decide


def main() -> None:
    """Every set."""
    for name in sys.argv[1:] or list(INSTRUCTIONS):
        rows = read_set(name)
        with serve_decisions(DecisionServer(decide=make_stand_in(rows))) as server:
            prices = "prices: {prompt: 0.5, answer: 0}"
            measure(name, rows, f"{{endpoint: {server.url}, model: stand-in, {prices}}}")


if __name__ == "__main__":
    main()
