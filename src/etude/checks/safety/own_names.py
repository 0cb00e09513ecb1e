"""Names that the task itself speaks of: in its instructions, its contract's fields, and its documents.

A librarian's titles, authors and characters are nobody's personal data: whoever wrote the task has told them. A
customer who has the first name of a character goes unseen for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from etude.checks.rows.document_coverage import texts_of
from etude.task import Task

_WORD = re.compile(r"[^\W\d_]+")


class OwnNames:
    """Knows the capitalised words of texts, and which words stand beside each other; in memory: each once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._alone: set[str] = set()
        self._beside: set[tuple[str, str]] = set()
        for text in texts:
            words = _WORD.findall(text)
            self._alone.update(word.casefold() for word in words if word[0].isupper())
            self._beside.update((one.casefold(), other.casefold()) for one, other in pairwise(words))

    def holds(self, name: str) -> bool:
        """Whether a name is one of the capitalised words, or each two words of it that are neighbours stand so."""
        words = [word.casefold() for word in _WORD.findall(name)]
        if len(words) < 2:
            return set(words) <= self._alone
        return all(pair in self._beside for pair in pairwise(words))


def own_names(task: Task) -> OwnNames:
    """The names that a task's own texts hold; of its documents as much as `documents` reads."""
    fields = task.contract.fields if task.contract else ()
    return OwnNames(chain([task.instructions, *fields], _documents(task)))


def _documents(task: Task) -> Iterator[str]:
    if task.documents is not None:
        yield from (text for _, text in texts_of(task.documents))
