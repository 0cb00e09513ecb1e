"""Search over passages: by keywords (BM25), by meaning (vectors of an encoder), or both fused by their ranks.

Kept in a folder: passages.jsonl, search.json, vectors.safetensors, and encoder/ where it was tuned. The fusion is
reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from etude.base.files import folder_aside, read_json, read_lines, write_json, write_lines
from etude.index.passages import Passage

if TYPE_CHECKING:
    from etude.models.encoder import Encoder

Way = Literal["keyword", "meaning", "both"]
FUSED = 50
"""Hits of each search that are fused."""
RANK = 60
"""Added to a rank in the fusion, as in its paper."""
_WORD = re.compile(r"\w+")
_SETTINGS, _PASSAGES, _VECTORS, _ENCODER = "search.json", "passages.jsonl", "vectors.safetensors", "encoder"


@dataclass(frozen=True, eq=False)
class Search:
    """Passages and what finds them. `encoder` and `vectors` (one row a passage) are there unless it is by keyword."""

    passages: Sequence[Passage]
    way: Way = "keyword"
    encoder: Encoder | None = None
    vectors: NDArray[np.float32] | None = None

    def find(self, questions: Sequence[str], k: int) -> list[list[int]]:
        """Positions of the `k` best passages for each question, the best first; fewer where there are fewer."""
        if not questions:
            return []
        if self.way == "keyword":
            return self.keywords.find(questions, k)
        if self.way == "meaning":
            return self._nearest(questions, k)
        depth = max(k, FUSED)
        both = zip(self.keywords.find(questions, depth), self._nearest(questions, depth), strict=True)
        return [fused(each)[:k] for each in both]

    @cached_property
    def keywords(self) -> Keywords:
        """The index of words, made when it is first asked."""
        return Keywords([passage.text for passage in self.passages])

    def _nearest(self, questions: Sequence[str], k: int) -> list[list[int]]:
        assert self.encoder is not None
        assert self.vectors is not None
        return best(self.encoder.embed(questions) @ self.vectors.T, k)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides what is found."""
        digest = hashlib.sha256(self.way.encode())
        for passage in self.passages:
            digest.update(json.dumps(asdict(passage), sort_keys=True).encode())
        if self.encoder is not None:
            digest.update(self.encoder.fingerprint.encode())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes the search to a folder, whole or not at all."""
        from safetensors.numpy import save_file

        with folder_aside(folder) as aside:
            write_lines(aside / _PASSAGES, map(asdict, self.passages))
            name = self.encoder.name if self.encoder else None
            tuned = self.encoder is not None and self.encoder.tuned
            write_json(
                aside / _SETTINGS,
                {"way": self.way, "encoder": name, "tuned": tuned, "fingerprint": self.fingerprint},
            )
            if self.vectors is not None:
                save_file({"vectors": self.vectors}, aside / _VECTORS)
            if self.encoder is not None and tuned:
                self.encoder.save(aside / _ENCODER)


def load_search(folder: Path, load_encoder: Callable[[str, Path | None], Any]) -> Search:
    """The search saved in a folder. `load_encoder(name, folder)` gives the encoder, from the folder where it was
    tuned. Raises RunError when a file cannot be read."""
    from safetensors.numpy import load_file

    settings = read_json(folder / _SETTINGS)
    passages = tuple(Passage(**line) for line in read_lines(folder / _PASSAGES))
    if settings["encoder"] is None:
        return Search(passages, settings["way"])
    encoder = load_encoder(settings["encoder"], folder / _ENCODER if settings["tuned"] else None)
    return Search(passages, settings["way"], encoder, load_file(folder / _VECTORS)["vectors"])


class Keywords:
    """BM25 over texts (Robertson and Zaragoza 2009, by the package bm25s)."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        self._size = len(texts)
        self._index = bm25s.BM25()
        self._index.index([words(text) or ["\0"] for text in texts], show_progress=False)

    def scores(self, text: str) -> NDArray[np.float32]:
        """The score of every passage for one text; 0 where they share no word."""
        known = [word for word in words(text) if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores(known)
        return scores

    def find(self, texts: Sequence[str], k: int) -> list[list[int]]:
        """Positions of the `k` best passages for each text."""
        return [best(self.scores(text)[None], k)[0] for text in texts]


def words(text: str) -> list[str]:
    """The words of a text, in one case."""
    return _WORD.findall(text.casefold())


def best(scores: NDArray[np.float32], k: int) -> list[list[int]]:
    """Columns of the `k` highest scores of each row, the highest first; of equal ones the first."""
    k = min(k, scores.shape[1])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else None
    if top is None:
        return [list(map(int, row)) for row in np.argsort(-scores, axis=1, kind="stable")]
    return [
        [int(column) for column in sorted(columns, key=lambda column: (-row[column], column))]
        for row, columns in zip(scores, top, strict=True)
    ]


def fused(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Several rankings as one, by the sum of 1 / (60 + rank)."""
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, position in enumerate(ranking, start=1):
            sums[position] = sums.get(position, 0.0) + 1 / (RANK + rank)
    return sorted(sums, key=lambda position: (-sums[position], position))


def gold_passages(search: Search, texts: Sequence[str]) -> list[int | None]:
    """The passage that each text (a question and its answer) is about: the best by keywords; None where the best is not
    clearly ahead of the second, or shares no word with it.

    A passage is clearly ahead when its score is at least `CLEAR` times the second's.
    """
    return [_clear_best(search.keywords.scores(text)) for text in texts]


CLEAR = 1.25


def _clear_best(scores: NDArray[np.float32]) -> int | None:
    if len(scores) == 1:
        return 0 if scores[0] > 0 else None
    first, second = best(scores[None], 2)[0]
    return first if scores[first] > 0 and scores[first] >= CLEAR * scores[second] else None
