"""Search over passages: by keywords (BM25), by meaning (vectors of an encoder), or by the sum of
both scores.

The folder of a search has passages.jsonl, search.json, words/, vectors.safetensors, and, for a
tuned encoder, encoder/. Scores are added without normalisation (compare Bruch, Gai and Ingber 2023,
arXiv 2210.11934): a question with rare words has a high keyword score, which then decides the
result; a sum of ranks would lose this information.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from etude.base.files import atomic_folder, read_json, read_lines, write_json, write_lines
from etude.errors import RUN_REMEDY, RunError
from etude.index.passages import Passage

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

SearchMode = Literal["keyword", "meaning", "both"]
QUESTIONS_AT_ONCE = 64  # Questions whose scores are held in memory together
# BM25 score that counts as much as a cosine of 1 in the sum. Chosen on pubmedqa, medquad and half
# of chunking_eval_corpora for the smallest loss compared with the better of the two searches
# (LOG.md, "Fusion").
KEYWORD_SCALE = 30.0
CLEAR_LEAD = (
    1.25  # Ratio of the best to the second score from which the best passage is clearly ahead
)
_WORD = re.compile(r"\w+")
_SETTINGS = "search.json"
_PASSAGES = "passages.jsonl"
_WORDS = "words"
_VECTORS = "vectors.safetensors"
_ENCODER = "encoder"


@dataclass(frozen=True, eq=False)
class Search:
    """Passages and the search over them. Only the mode "keyword" has no `encoder` and `vectors` (a
    row per passage).
    """

    passages: Sequence[Passage]
    mode: SearchMode = "keyword"
    encoder: Encoder | None = None
    vectors: NDArray[np.float32] | None = None
    keyword_index: KeywordIndex | None = None
    """The index of words if it has been built."""

    def find(self, questions: Sequence[str], k: int) -> list[list[int]]:
        """Return the positions of the `k` best passages (or all, if fewer) for each question, the
        best first.
        """
        return [[position for position, _ in hits] for hits in self.find_scored(questions, k)]

    def find_scored(self, questions: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """Return what `find` does, each position with its score."""
        size = QUESTIONS_AT_ONCE
        hits = []
        for start in range(0, len(questions), size):
            scores = self._score(questions[start : start + size])
            for row, positions in zip(scores, choose_best(scores, k), strict=True):
                hits.append([(position, float(row[position])) for position in positions])
        return hits

    def measure_nearness(self, questions: Sequence[str], folds: Sequence[int] = ()) -> list[float]:
        """Measure the cosine of each question with the passage nearest in meaning, at least 0;
        needs an encoder. With the folds of the questions, with the nearest question of another fold
        instead.
        """
        assert self.encoder is not None
        assert self.vectors is not None
        vectors = self.encoder.embed(questions)
        fold_of = np.array(folds)
        cosines = ((vectors if folds else self.vectors) @ vector for vector in vectors)
        if folds:
            cosines = (row[fold_of != fold] for row, fold in zip(cosines, folds, strict=True))
        return [min(1.0, float(row.max(initial=0.0))) for row in cosines]

    def _score(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """Compute scores, shape (questions, passages)."""
        if self.mode == "keyword":
            return np.stack([self.keywords.scores(question) for question in questions])
        assert self.encoder is not None
        assert self.vectors is not None
        scores = self.encoder.embed(questions) @ self.vectors.T
        if self.mode == "both":
            for row, question in zip(scores, questions, strict=True):
                row += self.keywords.scores(question) / KEYWORD_SCALE
        return scores

    @cached_property
    def keywords(self) -> KeywordIndex:
        return self.keyword_index or KeywordIndex.build(passage.text for passage in self.passages)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything on which results depend."""
        digest = hashlib.sha256(self.mode.encode())
        for passage in self.passages:
            digest.update(json.dumps(asdict(passage), sort_keys=True).encode())
        if self.encoder is not None:
            digest.update(self.encoder.fingerprint.encode())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the search to a folder, atomically."""
        from safetensors.numpy import save_file

        with atomic_folder(folder) as temporary:
            write_lines(temporary / _PASSAGES, map(asdict, self.passages))
            name = self.encoder.name if self.encoder else None
            is_tuned = self.encoder is not None and self.encoder.is_tuned
            write_json(
                temporary / _SETTINGS,
                {
                    "mode": self.mode,
                    "encoder": name,
                    "tuned": is_tuned,
                    "fingerprint": self.fingerprint,
                },
            )
            if self.mode != "meaning":
                self.keywords.save(temporary / _WORDS)
            if self.vectors is not None:
                save_file({"vectors": self.vectors}, temporary / _VECTORS)
            if self.encoder is not None and is_tuned:
                self.encoder.save(temporary / _ENCODER)


def load_search(folder: Path, load_encoder: Callable[[str, Path | None], Any]) -> Search:
    """Load the search saved in a folder. Raises RunError if a file cannot be read.

    `load_encoder(name, folder)` loads the encoder, from the folder if it was tuned.
    """
    from safetensors.numpy import load_file

    settings = read_json(folder / _SETTINGS)
    passages = tuple(Passage(**line) for line in read_lines(folder / _PASSAGES))
    keywords = KeywordIndex.load(folder / _WORDS) if settings["mode"] != "meaning" else None
    if settings["encoder"] is None:
        return Search(passages, settings["mode"], keyword_index=keywords)
    encoder = load_encoder(settings["encoder"], folder / _ENCODER if settings["tuned"] else None)
    return Search(
        passages, settings["mode"], encoder, load_file(folder / _VECTORS)["vectors"], keywords
    )


class KeywordIndex:
    """BM25 over texts (Robertson and Zaragoza 2009, by the package bm25s)."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, texts: Iterable[str]) -> KeywordIndex:
        """Index texts; the same texts give the same bytes."""
        import bm25s

        numbers: dict[str, int] = {}
        ids = [
            [numbers.setdefault(word, len(numbers)) for word in split_words(text) or ["\0"]]
            for text in texts
        ]
        index = bm25s.BM25()
        index.index((ids, numbers), show_progress=False)
        return cls(index)

    def save(self, folder: Path) -> None:
        """Write the index to a folder."""
        self._index.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> KeywordIndex:
        """Load the index saved in a folder. Raises RunError if it cannot be read."""
        import bm25s

        try:
            return cls(bm25s.BM25.load(folder, show_progress=False))
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{folder} is not an index of words ({error}). {RUN_REMEDY}") from error

    def scores(self, text: str) -> NDArray[np.float32]:
        """Compute the score of every passage for one text; 0 for passages that share no word."""
        words = [word for word in split_words(text) if word in self._index.vocab_dict]
        if not words:
            return np.zeros(self._index.scores["num_docs"], dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores(words)
        return scores


def split_words(text: str) -> list[str]:
    """Split a text into words in lower case."""
    return _WORD.findall(text.casefold())


def choose_best(scores: NDArray[np.float32], k: int) -> list[list[int]]:
    """Return the columns of the `k` highest scores of each row, the highest first; of equal scores,
    the first.
    """
    k = min(k, scores.shape[1])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else None
    if top is None:
        return [list(map(int, row)) for row in np.argsort(-scores, axis=1, kind="stable")]
    return [
        [int(column) for column in sorted(columns, key=lambda column: (-row[column], column))]
        for row, columns in zip(scores, top, strict=True)
    ]


def find_gold_passages(search: Search, texts: Sequence[str]) -> list[int | None]:
    """Find the passage that each text (a question and its answer) is about: the best one by
    keywords.

    None if it shares no word with the text, or if its score is below `CLEAR_LEAD` times the
    second-best score.
    """
    passages: list[int | None] = []
    for text in texts:
        scores = search.keywords.scores(text)
        first, second = (*choose_best(scores[None], 2)[0], None)[:2]
        lead = 0.0 if second is None else CLEAR_LEAD * scores[second]
        passages.append(first if scores[first] > 0 and scores[first] >= lead else None)
    return passages
