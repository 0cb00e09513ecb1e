"""Fit the classifier of acts, and write it to src/etude/limits/act_model.txt (about 150 kB of
numbers, as one line).

    python tools/acts.py

It learns from act_lines.yaml and from answers of SmolLM2-135M in tests/acts.jsonl; answers that are
marked "held out" are left out. It prints how many lines of each act are read right by classifiers
not fitted on them (10 folds).
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from sklearn.model_selection import StratifiedKFold

from etude.limits.acts import GOES_ALONG, MODEL_FILE, PIECE_CHARACTERS, classify, split_pieces
from etude.limits.question_model import OWN, QuestionModel, count_features

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Prints the accuracy for each act, and writes the classifier that is fitted on all lines."""
    rows, num_own = read_rows()
    acts = [act for _, act in rows]
    counts = Counter(acts[:num_own])
    right = Counter[str]()
    for fitted, left_out in StratifiedKFold(10, shuffle=True, random_state=0).split(rows, acts):
        model = fit([rows[position] for position in fitted])
        for text, act in (rows[position] for position in left_out if position < num_own):
            right[act] += classify(text, "", "", model).act == (
                "answer" if act == GOES_ALONG else act
            )
    for act, number in counts.items():
        print(f"{act}: {right[act]} of {number}")
    MODEL_FILE.write_text(fit(rows).to_text() + "\n", encoding="ascii")


def read_rows() -> tuple[list[tuple[str, str]], int]:
    """Returns texts with their acts, and how many of them, the first ones, are our own lines."""
    lines = yaml.load((ROOT / "tools" / "act_lines.yaml").read_text("utf-8"), yaml.BaseLoader)
    own = [(text, act) for act, texts in lines.items() for text in texts]
    labelled = map(json.loads, (ROOT / "tests" / "acts.jsonl").read_text("utf-8").splitlines())
    return [
        *own,
        *(
            (row["answer"], row["act"])
            for row in labelled
            if "held out" not in row["source"] and row["act"] != "incoherent"
        ),
    ], len(own)


def fit(rows: list[tuple[str, str]]) -> QuestionModel:
    """Fits on the first two sentences of texts, with their acts."""
    texts = [" ".join(split_pieces(text)[:2])[:PIECE_CHARACTERS] for text, _ in rows]
    names = [OWN if act == "answer" else act for _, act in rows]
    return QuestionModel.fit(count_features(texts), names, np.ones(len(names)))


if __name__ == "__main__":
    main()
