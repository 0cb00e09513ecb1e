"""Coverage of the task's documents: which of them no example speaks of, and which answers speak of none.

An example speaks of a document when its input or answer holds the document's title, or several of the words that
stand in this document alone. Only the words count: a document told in other words throughout goes unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude.base.wording import count, first_of
from etude.checks.material import Material, rows_that
from etude.checks.record import FindingKind, finds
from etude.text.normal_forms import normalise
from etude.types import Finding

MOST_DOCUMENTS = 20_000
"""Documents that are read, in the order of their names."""
MOST_TEXT = 20_000
"""Characters of a document that are looked at."""
TERMS = 12
"""Words of a document that are looked for: the most frequent of those that no other document has."""
LEAST_TERM = 5
"""Letters of a word that is looked for."""
TOGETHER = 3
"""Different terms of one document that must stand in a text, where its title does not."""
MOST_NAMED = 5
NEARLY_ALL = 0.9
"""Share of the answers that speak of a document from which the others stand out."""
_SUFFIXES = frozenset((".md", ".txt", ".rst", ".markdown", ""))


@dataclass(frozen=True)
class Document:
    """What a document is known by."""

    name: str
    title: tuple[str, ...]
    """Its words, normalised; () where the title is one common word, or that of another document too."""
    terms: frozenset[str]
    """Words that stand in this document alone."""


@finds(
    FindingKind("uncovered_documents", "note", "files of `documents:` that no example speaks of"),
    FindingKind("no_document", "note", "free answers that name no document if nearly all others do"),
)
def uncovered_documents(material: Material) -> Iterator[Finding]:
    """Documents that no example speaks of, and answers that speak of none where nearly all others do."""
    if material.task.documents is None:
        return
    documents = read_documents(material.task.documents)
    if len(documents) < 2:
        return
    index = Index(documents)
    seen: set[int] = set()
    silent: list[int] = []
    for row, (asked, given) in enumerate(zip(material.plain_inputs, material.plain_outputs, strict=True)):
        answered = index.spoken_of(given)
        seen |= answered | index.spoken_of(asked)
        if not answered:
            silent.append(row)
    yield from _uncovered(material, documents, seen)
    if material.free and 0 < len(silent) <= (1 - NEARLY_ALL) * len(material.rows):
        yield material.finding(
            "no_document",
            "note",
            silent,
            f"{rows_that('have', len(silent), len(material.rows))} an answer that names nothing of any document in "
            f"{material.task.documents.name}; the others do.",
            "Read them: what they say may be made up, or in words that the documents do not use.",
            evidence=(material.shown_output(row) for row in silent),
        )


def _uncovered(material: Material, documents: Sequence[Document], seen: set[int]) -> Iterator[Finding]:
    absent = [document.name for place, document in enumerate(documents) if place not in seen]
    if not absent:
        return
    yield material.finding(
        "uncovered_documents",
        "note",
        [],
        f"{count(len(absent), 'document')} of {len(documents):,} {'is' if len(absent) == 1 else 'are'} in no example: "
        f"{first_of(absent, MOST_NAMED)}.",
        "Add examples about them, or leave what they say to retrieval: tuning only learns what the examples are about.",
        numbers={"documents": len(absent), "of_documents": len(documents)},
    )


def read_documents(folder: Path) -> list[Document]:
    """The text files of a folder, or one file; hidden files and files that hold no UTF-8 text are passed over.

    They are read twice, so that the words of one document at a time are in memory.
    """
    in_texts: Counter[str] = Counter()
    titles: dict[str, tuple[str, ...]] = {}
    for name, text in texts_of(folder):
        in_texts.update(set(normalise(text).split()))
        titles[name] = tuple(normalise(_title(name, text)).split())
    shared = Counter(titles.values())
    return [
        Document(
            name,
            titles[name] if shared[titles[name]] == 1 and _telling(titles[name], in_texts) else (),
            _terms(normalise(text).split(), in_texts),
        )
        for name, text in texts_of(folder)
    ]


def texts_of(folder: Path) -> Iterator[tuple[str, str]]:
    """(name, beginning) of every document."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    base = folder.parent if folder.is_file() else folder
    names = (
        file.relative_to(base) for file in files if file.suffix.casefold() in _SUFFIXES and file.is_file()
    )
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    for name in visible[:MOST_DOCUMENTS]:
        try:
            with (base / name).open(encoding="utf-8") as file:
                text = file.read(MOST_TEXT)
        except (UnicodeDecodeError, OSError):
            continue
        if text.strip():
            yield name.as_posix(), text


def _title(name: str, text: str) -> str:
    """The first heading of a document, else the name of its file."""
    heading = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return heading.removeprefix("# ") or Path(name).stem


def _telling(title: Sequence[str], in_texts: Mapping[str, int]) -> bool:
    """Whether a title is found in no text by chance: several words, or one that few documents use."""
    return len(title) > 1 or (len(title) == 1 and len(title[0]) >= LEAST_TERM and in_texts[title[0]] == 1)


def _terms(words: Iterable[str], in_texts: Mapping[str, int]) -> frozenset[str]:
    own = Counter(
        word for word in words if in_texts[word] == 1 and len(word) >= LEAST_TERM and word.isalpha()
    )
    return frozenset(word for word, _ in own.most_common(TERMS))


class Index:
    """Finds the documents that a text speaks of, in time proportional to the text."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._by_term = {term: place for place, one in enumerate(documents) for term in one.terms}
        self._needed = [TOGETHER if one.title else min(TOGETHER, len(one.terms)) for one in documents]
        self._by_word: dict[str, list[tuple[int, tuple[str, ...], int]]] = {}
        for place, one in enumerate(documents):
            if one.title:
                # The longest word of a title is the rarest, nearly always: few places have to be compared.
                offset = max(range(len(one.title)), key=lambda at: len(one.title[at]))
                self._by_word.setdefault(one.title[offset], []).append((offset, one.title, place))

    def spoken_of(self, plain: str) -> set[int]:
        """Places of the documents whose title, or several of whose own words, stand in a normalised text."""
        words = plain.split()
        terms = Counter(self._by_term[word] for word in set(words) if word in self._by_term)
        found = {place for place, number in terms.items() if number >= self._needed[place]}
        for at, word in enumerate(words):
            for offset, title, place in self._by_word.get(word, ()):
                if tuple(words[max(at - offset, 0) : at - offset + len(title)]) == title:
                    found.add(place)
        return found
