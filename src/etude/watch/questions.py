"""How far questions are from the training rows, groups of near questions, and a selection that
covers the others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.metrics.pairwise import cosine_distances
from sklearn.utils.extmath import safe_sparse_dot

from etude.index.build import load_task_encoder
from etude.models.registry import Models
from etude.stats.sample import FloatArray
from etude.task import Task

Vectors = Any
"""Unit vectors, (texts, dimensions): dense from an encoder, sparse from words."""
AT_ONCE = 1_024  # questions that are compared with all training rows at once
GROUP_DISTANCE = 0.6  # mean cosine distance up to which two groups of questions are merged


class QuestionSpace:
    """Vectors of questions, by the task's encoder or else by their words, and the training
    questions among them.
    """

    def __init__(self, task: Task, train: Sequence[str], models: Models) -> None:
        self.notes = list[str]()
        encoder = load_task_encoder(task, models, self.notes)
        self.name = f"{encoder.name} {encoder.fingerprint}" if encoder else "words"
        self._embed: Any
        if encoder:
            self._embed = encoder.embed
        else:
            self.notes.append(
                "Questions are compared by their words alone, because there is no encoder"
            )
            counts = HashingVectorizer(alternate_sign=False, norm=None)
            weights = TfidfTransformer(sublinear_tf=True).fit(counts.transform(train))
            self._embed = lambda texts: weights.transform(counts.transform(texts))
        self._train = self._embed(list(train))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Compute the vectors; each different text is embedded once."""
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        return self._embed(list(row_of))[[row_of[text] for text in texts]]

    def find_nearest(self, vectors: Vectors) -> tuple[Vectors, list[int]]:
        """Return each vector's cosine distance to the nearest training row, and the position of
        this row.

        Distances are rounded, so that a text has the same one in every batch of the encoder.
        """
        distances = np.empty(vectors.shape[0])
        nearest = list[int]()
        for start in range(0, vectors.shape[0], AT_ONCE):
            block = slice(start, start + AT_ONCE)
            similarities = safe_sparse_dot(vectors[block], self._train.T, dense_output=True)
            nearest += similarities.argmax(axis=1).tolist()
            distances[block] = np.round(1 - similarities.max(axis=1), 5)
        return distances, nearest


def group_questions(vectors: Vectors) -> list[list[int]]:
    """Group questions by average linkage. Returns positions: the largest group first, in it the
    most typical question first, which has the smallest mean distance to the others.
    """
    if vectors.shape[0] < 2:
        return [[0]] * vectors.shape[0]
    distances = cosine_distances(vectors)
    linkage = AgglomerativeClustering(
        None, metric="precomputed", linkage="average", distance_threshold=GROUP_DISTANCE
    )
    numbers = linkage.fit_predict(distances)
    groups = list[list[int]]()
    for number in range(numbers.max() + 1):
        members = np.flatnonzero(numbers == number)
        means = distances[np.ix_(members, members)].mean(axis=1)
        groups.append(members[np.argsort(means, kind="stable")].tolist())
    return sorted(groups, key=len, reverse=True)


def select_questions(
    vectors: Vectors, distances: FloatArray, unsure: FloatArray, number: int
) -> list[int]:
    """Select questions that cover the unsure ones, and return their positions, the most useful
    first.

    Each step selects the question that adds most to the sum, over all questions, of `unsure` times
    the similarity to the nearest question that is selected or in the rows (facility location: Wei,
    Iyer and Bilmes 2015, "Submodularity in Data Subset Selection and Active Learning"). `distances`
    are those to the nearest rows.
    """
    similarities = safe_sparse_dot(vectors, vectors.T, dense_output=True)
    weights = unsure.astype(similarities.dtype)
    covered = (1 - distances).astype(similarities.dtype)
    selected = list[int]()
    for _ in range(min(number, len(unsure))):
        gains = weights @ np.maximum(similarities - covered[:, None], 0)
        gains[selected] = -1
        selected.append(int(gains.argmax()))
        covered = np.maximum(covered, similarities[selected[-1]])
    return selected
