"""Names that the task itself speaks of: in its instructions, its contract's fields, and its documents.

A librarian's titles, authors and characters are nobody's personal data: whoever wrote the task has told them. A
customer who has the first name of a character goes unseen for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise
from pathlib import Path

from etude.task import Task

MOST_DOCUMENTS = 20_000
"""Documents that are read, in the order of their names."""
MOST_TEXT = 20_000
"""Characters of a document that are read."""
_SUFFIXES = frozenset((".md", ".txt", ".rst", ".markdown", ""))
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
    """The names that a task's own texts hold."""
    fields = task.contract.fields if task.contract else ()
    return OwnNames(chain([task.instructions, *fields], _documents(task)))


def _documents(task: Task) -> Iterator[str]:
    if task.documents is not None:
        yield from _texts_of(task.documents)


def _texts_of(folder: Path) -> Iterator[str]:
    """The beginning of each text file of a folder; hidden files and files that are no UTF-8 are skipped."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    base = folder.parent if folder.is_file() else folder
    visible = (
        file
        for file in files
        if file.suffix.casefold() in _SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(base).parts)
    )
    for path in islice(visible, MOST_DOCUMENTS):
        try:
            with path.open(encoding="utf-8") as file:
                yield file.read(MOST_TEXT)
        except (UnicodeDecodeError, OSError):
            continue
