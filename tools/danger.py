"""Fit the classifiers of clauses in danger and of forbidden subjects, and write
src/etude/limits/clause_model.json.

    python tools/danger.py

They learn from danger.yaml, subjects.yaml and generic.yaml of src/etude/limits. Thresholds come
from 5 folds: the score that MIN_RECALL of the clauses in danger exceed, or MAX_ALARMS of the
clauses that are not about a subject. All frames of a phrase are in one fold. It prints both shares,
as they are to be expected for clauses by the same author.
"""

import json

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from etude.base.word_lists import read_table
from etude.index.build import DEFAULT_ENCODER
from etude.limits import clauses
from etude.limits.fit import read_danger_clauses
from etude.limits.question_form import to_question_form
from etude.models.registry import Models

MIN_RECALL = 0.9
MAX_ALARMS = 0.01
INVERSE_PENALTY = 3.0
DIGITS = 3  # of a weight


def main() -> None:
    """Prints recall for each class, and writes the model."""
    encoder = Models().load_shared_encoder(DEFAULT_ENCODER)
    subjects = read_table(clauses.__file__, "subjects.yaml")
    danger, look_alikes, general = read_danger_clauses()
    frames = subjects.pop("frames")
    harmless = subjects.pop("harmless")
    framed = {
        name: [(frame.format(phrase), phrase) for phrase in phrases for frame in frames]
        for name, phrases in {**subjects, "harmless": harmless}.items()
    }
    rows = {
        "danger": (
            [(line, line) for line in danger],
            [(line, line) for line in look_alikes + general],
        )
    }
    rows |= {
        name: (
            framed[name],
            [
                *(pair for other in framed if other != name for pair in framed[other]),
                *((line, line) for line in look_alikes + general),
            ],
        )
        for name in subjects
    }
    texts = list(dict.fromkeys(text for pair in rows.values() for side in pair for text, _ in side))
    forms = [to_question_form(text) for text in texts]
    vector_of = dict(zip(texts, encoder.embed_layers(forms, clauses.LAYERS), strict=True))
    table = {}
    for name, (positive, negative) in rows.items():
        vectors = np.array([vector_of[text] for text, _ in positive + negative])
        is_hit = np.arange(len(vectors)) < len(positive)
        groups = np.unique([group for _, group in positive + negative], return_inverse=True)[1]
        scores = np.zeros(len(vectors))
        for fitted, left_out in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(
            vectors, is_hit, groups
        ):
            scores[left_out] = fit(vectors[fitted], is_hit[fitted]).decision_function(
                vectors[left_out]
            )
        levels = (
            np.quantile(scores[is_hit], 1 - MIN_RECALL),
            np.quantile(scores[~is_hit], 1 - MAX_ALARMS),
        )
        threshold = float(levels[name != "danger"])
        alarms = np.mean(scores[~is_hit] >= threshold)
        print(
            f"{name}: {np.mean(scores[is_hit] >= threshold):.1%} of {is_hit.sum()} found, "
            f"{alarms:.1%} of {(~is_hit).sum()} wrongly"
        )
        model = fit(vectors, is_hit)
        weights = [round(float(weight), DIGITS) for weight in model.coef_[0]]
        table[name] = {
            "intercept": round(float(model.intercept_[0]), DIGITS),
            "threshold": round(threshold, DIGITS),
            "weights": weights,
        }
    clauses.MODEL_FILE.write_text(json.dumps(table) + "\n", encoding="ascii")


def fit(vectors: np.ndarray, is_hit: np.ndarray) -> LogisticRegression:
    """Fits on clauses; both sides weigh the same."""
    return LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=3000).fit(
        vectors, is_hit
    )


if __name__ == "__main__":
    main()
