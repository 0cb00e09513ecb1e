"""Linear classifiers of several labels a row, and of scores on a scale."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etude.methods.baseline import fit_like
from etude.models.classical import CountedTexts, Features, load, save_classical
from etude.models.label_heads import LabelHeads, ScoreHeads
from etude.models.registry import Models
from etude.text.label_lists import join_labels
from etude.types import CLASSICAL, Example, Message, ModelRef

WORDS = {
    "delivery": "parcel late courier",
    "refund": "money back refund",
    "tone": "rude staff shouting",
}
SCALE = ("bad", "poor", "fair", "good", "best")


def make_lists(num: int, seed: int, empty: bool = True) -> tuple[list[str], list[str]]:
    """Texts with the words of each of their labels, and the labels."""
    draw = random.Random(seed)
    texts = []
    lists = []
    for number in range(num):
        labels = [label for label in WORDS if draw.random() < 0.4]
        labels = labels if labels or empty else ["tone"]
        words = [draw.choice(WORDS[label].split()) for label in labels]
        texts.append(" ".join(["case", str(number), *words]))
        lists.append(join_labels(labels))
    return texts, lists


def make_scores(num: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts with as many of five words as their score, and the scores."""
    draw = random.Random(seed)
    scores = [draw.randrange(len(SCALE)) for _ in range(num)]
    texts = [
        f"note {number} {'fine ' * score}{'awful ' * (4 - score)}"
        for number, score in enumerate(scores)
    ]
    return texts, [SCALE[score] for score in scores]


def test_every_label_is_found_by_itself(tmp_path: Path) -> None:
    heads = LabelHeads.fit_lists(*make_lists(200, 0), 0).calibrate(*make_lists(80, 1))
    texts, lists = make_lists(100, 2)
    assert [text for text, _ in heads.predict(texts)] == lists
    folder = save_classical(heads, tmp_path / "heads")
    again = load(ModelRef(CLASSICAL, folder), Models()).predictor
    assert again.predict(texts) == heads.predict(texts)


def test_a_row_without_words_has_no_label_unless_every_training_row_has_one() -> None:
    assert LabelHeads.fit_lists(*make_lists(200, 0), 0).predict(["case 7"])[0][0] == "[]"
    (text, _), *_ = LabelHeads.fit_lists(*make_lists(200, 0, empty=False), 0).predict(["case 7"])
    assert len(text) > 2


def test_thresholds_make_the_answers_to_held_out_rows_no_worse() -> None:
    texts, lists = make_lists(200, 0)
    draw = random.Random(3)
    noisy = [
        join_labels(draw.sample(list(WORDS), 2)) if draw.random() < 0.5 else text for text in lists
    ]
    plain = LabelHeads.fit_lists(texts, noisy, 0)
    plain = replace(plain, temperature=plain.fit_temperature(plain.compute_margins(texts), noisy))
    tuned = plain.calibrate(texts, noisy)
    chances = np.exp(plain.answer(texts)[0])
    for number, label in enumerate(plain.labels):
        gold = np.array([label in text for text in noisy])

        def score(
            threshold: float, chance: np.ndarray = chances[:, number], gold: np.ndarray = gold
        ) -> float:
            return (
                2
                * ((chance >= threshold) & gold).sum()
                / ((chance >= threshold).sum() + gold.sum())
            )

        assert score(tuned.thresholds[label]) >= score(0.5) - 1e-9


def test_scores_are_ordered_and_their_probabilities_sum_to_one(tmp_path: Path) -> None:
    heads = ScoreHeads.fit_scores(*make_scores(300, 0), SCALE, 0)
    heads = heads.calibrate(*make_scores(100, 1))
    texts, scores = make_scores(100, 2)
    chances = np.exp(heads.answer(texts)[0])
    assert chances.sum(axis=1) == pytest.approx(1, abs=1e-5)
    steps = [
        abs(SCALE.index(score) - SCALE.index(answer))
        for score, (answer, _) in zip(scores, heads.predict(texts), strict=True)
    ]
    assert max(steps) <= 1
    assert np.mean(steps) < 0.3
    folder = save_classical(heads, tmp_path / "heads")
    again = load(ModelRef(CLASSICAL, folder), Models()).predictor
    assert again.predict(texts) == heads.predict(texts)


def test_a_score_that_no_row_has_is_still_on_the_scale() -> None:
    texts, scores = make_scores(200, 0)
    kept = [number for number, score in enumerate(scores) if score != "fair"]
    heads = ScoreHeads.fit_scores(
        [texts[row] for row in kept], [scores[row] for row in kept], SCALE, 0
    )
    assert heads.labels == SCALE
    assert np.isfinite(heads.answer(texts)[0]).all()


def test_between_both_ends_of_the_scale_the_middle_is_not_answered() -> None:
    draw = random.Random(0)
    texts = [f"case {number} {draw.choice(('left', 'right'))}" for number in range(400)]
    scores = [
        SCALE[-1] if (text.endswith("right")) == (draw.random() < 0.75) else SCALE[0]
        for text in texts
    ]
    heads = ScoreHeads.fit_scores(texts[:200], scores[:200], SCALE, 0)
    heads = heads.calibrate(texts[200:300], scores[200:300])
    assert heads.rule == "mode"
    assert {answer for answer, _ in heads.predict(texts[300:])} == {SCALE[0], SCALE[-1]}


def test_the_answers_to_held_out_rows_do_not_depend_on_their_own_labels(tmp_path: Path) -> None:
    train = make_lists(200, 0)
    (texts, lists) = make_lists(80, 1)
    draw = random.Random(5)
    plain = LabelHeads.fit_lists(*train, 0)
    answers = plain.calibrate(texts, lists).predict(texts)
    for row in range(0, 80, 9):
        # The row's own label changes only what is answered to the rows of the other half.
        other = [*lists]
        other[row] = join_labels(draw.sample(list(WORDS), 2))
        assert plain.calibrate(texts, other).predict(texts)[row] == answers[row]
        # In a fold without the row, its label changes nothing at all.
        learned = [texts[:row] + texts[row + 1 :], lists[:row] + lists[row + 1 :]]
        folds = []
        for outputs in (lists, other):
            pairs = zip(texts, outputs, strict=True)
            dev = [Example("", (Message("user", text),), output) for text, output in pairs]
            fold = fit_like(plain.calibrate(texts, outputs), dev, lambda *_: plain, *learned)
            assert isinstance(fold, LabelHeads)
            folds.append(fold.thresholds)
        assert folds[0] == folds[1]
    heads = plain.calibrate(texts, lists)
    again = load(ModelRef(CLASSICAL, save_classical(heads, tmp_path / "heads")), Models()).predictor
    assert again.predict([*texts, "case new"]) == heads.predict([*texts, "case new"])
    scores = ScoreHeads.fit_scores(*make_scores(200, 0), SCALE, 0).calibrate(*make_scores(60, 1))
    assert len(scores.halves) == 2
    assert not scores.copy_calibration(scores).held_out - scores.held_out


@pytest.mark.parametrize("seed", range(3))
def test_counted_texts_fit_the_same_features_to_the_bit(seed: int) -> None:
    draw = random.Random(seed)
    texts = [
        " ".join(draw.choices("Ein Wort, the; Word. çok 12 x".split(), k=draw.randint(0, 9)))
        for _ in range(60)
    ]
    some = draw.sample(texts, 25)
    (features, rows) = CountedTexts([*texts, "a word"]).fit(some)
    (expected, matrix) = Features.fit(some)
    assert (rows != matrix).nnz == 0
    assert features.transform(texts).data.tobytes() == expected.transform(texts).data.tobytes()
    for ours, theirs in zip(features.vectorisers, expected.vectorisers, strict=True):
        assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
