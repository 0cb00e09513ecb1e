"""Search over passages: by keywords (BM25), by meaning (vectors of an encoder), or by the sum of both scores.

Kept in a folder: passages.jsonl, search.json, words/, vectors.safetensors, and encoder/ where it was tuned. Scores are
added as they are (compare Bruch, Gai and Ingber 2023, arXiv 2210.11934): a question with rare words has a high score by
keywords, which then decides; a sum of ranks would not know.
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

from etude.base.files import REMEDY, folder_aside, read_json, read_lines, write_json, write_lines
from etude.errors import RunError
from etude.index.passages import Passage

if TYPE_CHECKING:
    from etude.models.encoder import Encoder

Way = Literal["keyword", "meaning", "both"]
AT_ONCE = 64
"""Questions whose scores are held in memory together."""
KEYWORD_SCALE = 30.0
"""Points of BM25 that count as much as a cosine of 1, where both are added. Chosen on pubmedqa, medquad and half of
chunking_eval_corpora: the smallest loss against the better of the two searches (`bench/search.py --choose`)."""
_WORD = re.compile(r"\w+")
_SETTINGS, _PASSAGES, _WORDS = "search.json", "passages.jsonl", "words"
_VECTORS, _ENCODER = "vectors.safetensors", "encoder"


@dataclass(frozen=True, eq=False)
class Search:
    """Passages and what finds them. `encoder` and `vectors` (one row a passage) are there unless it is by keyword."""

    passages: Sequence[Passage]
    way: Way = "keyword"
    encoder: Encoder | None = None
    vectors: NDArray[np.float32] | None = None
    words: Keywords | None = None
    """The index of words, where it has been made."""

    def find(self, questions: Sequence[str], k: int) -> list[list[int]]:
        """Positions of the `k` best passages for each question, the best first; fewer where there are fewer."""
        parts = (questions[start : start + AT_ONCE] for start in range(0, len(questions), AT_ONCE))
        return [row for part in parts for row in best(self._scores(part), k)]

    def _scores(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """A row of scores for each question, one for each passage."""
        if self.way == "keyword":
            return np.stack([self.keywords.scores(question) for question in questions])
        assert self.encoder is not None
        assert self.vectors is not None
        scores = self.encoder.embed(questions) @ self.vectors.T
        if self.way == "both":
            for row, question in zip(scores, questions, strict=True):
                row += self.keywords.scores(question) / KEYWORD_SCALE
        return scores

    @cached_property
    def keywords(self) -> Keywords:
        """The index of words, made when it is first asked."""
        return self.words or Keywords.of(passage.text for passage in self.passages)

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
            if self.way != "meaning":
                self.keywords.save(aside / _WORDS)
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
    keywords = Keywords.load(folder / _WORDS) if settings["way"] != "meaning" else None
    if settings["encoder"] is None:
        return Search(passages, settings["way"], words=keywords)
    encoder = load_encoder(settings["encoder"], folder / _ENCODER if settings["tuned"] else None)
    return Search(passages, settings["way"], encoder, load_file(folder / _VECTORS)["vectors"], keywords)


class Keywords:
    """BM25 over texts (Robertson and Zaragoza 2009, by the package bm25s)."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def of(cls, texts: Iterable[str]) -> Keywords:
        """The index of some texts; the same texts give the same bytes."""
        import bm25s

        numbers: dict[str, int] = {}
        ids = [[numbers.setdefault(word, len(numbers)) for word in words(text) or ["\0"]] for text in texts]
        index = bm25s.BM25()
        index.index((ids, numbers), show_progress=False)
        return cls(index)

    def save(self, folder: Path) -> None:
        """Writes the index to a folder."""
        self._index.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> Keywords:
        """The index saved in a folder. Raises RunError when it cannot be read."""
        import bm25s

        try:
            return cls(bm25s.BM25.load(folder, show_progress=False))
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{folder} holds no index of words ({error}). {REMEDY}") from error

    def scores(self, text: str) -> NDArray[np.float32]:
        """The score of every passage for one text; 0 where they share no word."""
        known = [word for word in words(text) if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self._index.scores["num_docs"], dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores(known)
        return scores


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


def gold_passages(search: Search, outputs: Sequence[str]) -> list[int | None]:
    """The passage that each answer was written from: the best by keywords for its text; None where the best is not
    clearly ahead of the second, or shares no word with it.

    A passage is clearly ahead when its score is at least `CLEAR` times the second's.
    """
    return [_clear_best(search.keywords.scores(output)) for output in outputs]


CLEAR = 1.25


def _clear_best(scores: NDArray[np.float32]) -> int | None:
    if len(scores) == 1:
        return 0 if scores[0] > 0 else None
    first, second = best(scores[None], 2)[0]
    return first if scores[first] > 0 and scores[first] >= CLEAR * scores[second] else None
