"""Checks that an answer of Luma recommends a book of catalogue/ (beside this file) that fits the
request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).with_name("catalogue")
MIN_SHARE = 0.6  # least share of the words of a description or note that must be in the book's page
FRAME = {"story", "about", "which", "where"}  # words of "A story about dragons in which ..."
SPAN = re.compile(r"(\d{1,2})(?:\s*(?:-|–|to)\s*(\d{1,2}))?")


@dataclass(frozen=True)
class Book:
    """One document of the catalogue."""

    title: str
    ages: tuple[int, int]
    """Youngest and oldest age, both included."""
    themes: frozenset[str]
    scary: str
    """Its scary parts; "" if it has none."""
    page: str


def fits(example: Any, answer: str) -> bool:
    """Whether `answer` recommends a book of the catalogue that suits the request.

    In: an example with the tags `theme` ("dragons") and `age` ("6", or "6-7" if both must fit), and
    any text. The text passes if its title is in the catalogue (case does not matter), that book has
    the theme and covers the age, the Ages line equals that of the catalogue, it has a gentle note
    if and only if the book has scary parts, and most words of the description and of the note are
    in the book's page, by their first five letters. Never raises. Does not see a single wrong word
    among true ones, nor check the order of the lines, which the contract checks.
    """
    return not why(example, answer)


def why(example: Any, answer: str) -> list[str]:
    """What is wrong with `answer`, one phrase for each failure; empty if it fits."""
    titles = field_values(answer, "Title")
    if len(titles) != 1:
        return ["no title" if not titles else "more than one title"]
    book = catalogue().get(titles[0].casefold())
    if book is None:
        return ["no such book"]
    ages = [span(text) for text in field_values(answer, "Ages")]
    faults = {
        "wrong theme": tag(example, "theme") not in book.themes,
        "wrong age": not covers(book.ages, span(tag(example, "age"))),
        "ages differ from the catalogue": ages != [book.ages],
        "note missing": book.scary and not any(field_values(answer, "Gentle note")),
        "note not due": not book.scary and bool(field_values(answer, "Gentle note")),
        "wrong description": not describes(
            field_values(answer, "Why you might like it"), book.page
        ),
        "wrong note": bool(book.scary)
        and not describes(field_values(answer, "Gentle note"), book.scary),
    }
    return [fault for fault, found in faults.items() if found]


def describes(texts: list[str], source: str) -> bool:
    """Whether at least `MIN_SHARE` of the words of the texts are in the source."""
    words = stems(" ".join(texts))
    return len(words & stems(source)) >= MIN_SHARE * len(words)


def stems(text: str) -> set[str]:
    """The first five letters of each word of at least four letters, except those of the frame."""
    return {word[:5] for word in re.findall(r"[^\W\d_]{4,}", text.casefold())} - FRAME


def field_values(answer: Any, name: str) -> list[str]:
    """The text after `name:` on each line that begins with it, in any case."""
    pattern = rf"^[ \t]*{re.escape(name)}[ \t]*:(.*)$"
    return [
        text.strip()
        for text in re.findall(pattern, str(answer), flags=re.MULTILINE | re.IGNORECASE)
    ]


def tag(example: Any, name: str) -> str:
    """The tag's value; "" if the row has no such tag."""
    return str((getattr(example, "tags", None) or {}).get(name, ""))


def span(text: str) -> tuple[int, int] | None:
    """`"6"` as (6, 6), `"6-7"` as (6, 7); None for other texts."""
    found = SPAN.fullmatch(text.strip())
    return (int(found[1]), int(found[2] or found[1])) if found else None


def covers(ages: tuple[int, int], asked: tuple[int, int] | None) -> bool:
    """Whether every age in the request is in the book's range."""
    return asked is not None and ages[0] <= asked[0] <= asked[1] <= ages[1]


@cache
def catalogue() -> dict[str, Book]:
    """All books by casefolded title."""
    books = (read_book(path.read_text(encoding="utf-8")) for path in sorted(CATALOGUE.glob("*.md")))
    return {book.title.casefold(): book for book in books}


def read_book(document: str) -> Book:
    """The book that a document of the catalogue describes."""
    title, ages, themes, scary = (
        re.search(pattern, document, flags=re.MULTILINE)[1]  # type: ignore[index]
        for pattern in (
            r"^# (.+)$",
            r"^- Ages: (.+)$",
            r"^- Themes: (.+)$",
            r"^- Scary parts: (.+)$",
        )
    )
    youngest, oldest = (int(age) for age in ages.split("-"))
    return Book(
        title,
        (youngest, oldest),
        frozenset(themes.split(", ")),
        "" if scary == "none" else scary,
        document,
    )
