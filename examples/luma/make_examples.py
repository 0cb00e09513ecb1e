"""Writes Luma's library: catalogue/, examples.jsonl and test.jsonl, from books.yaml and
wordings.yaml.

    python make_examples.py [FOLDER]

The same seed writes the same bytes. A request is a theme and an age. Its answer is the book of that
theme whose ages lie closest around the age, so that the same wish always has the same answer. For
some wishes the only fitting book is marked `catalogue_only`: those wishes are asked in test.jsonl
alone, and only a method that reads the catalogue can know the answer.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml
from wording import Asker, Wish

from etude.text.normal_forms import to_canonical

HERE = Path(__file__).parent
SEED = 20
AGES = range(3, 13)
ROWS_TRAIN = 1600
ROWS_TEST = 400
ROWS_UNSEEN = 60
ASKERS = {"parent": 6, "grandparent": 3, "friend": 4, "child": 4, "teacher": 3, "hurried": 3}
TWISTS = {"none": 6, "another age": 2, "unwanted theme": 2}
"""Who asks and what else is mentioned, with how often."""
BANDS = {"3-4": 4, "5-6": 6, "7-8": 8, "9-10": 10, "11-12": 12}
"""Names of the age bands, with the oldest age of each."""
COMMON = {
    "A",
    "An",
    "The",
    "Two",
    "Three",
    "Four",
    "Every",
    "Each",
    "Twins",
    "School",
    "Best",
    "Books",
}
"""First words of a blurb that are no names."""
TOO_ALIKE = 0.7
"""Of character 5-grams; stricter than the 0.8 from which etude calls two texts near-duplicates."""


@dataclass(frozen=True)
class Book:
    """One entry of books.yaml."""

    title: str
    youngest: int
    oldest: int
    themes: tuple[str, ...]
    blurb: str
    note: str
    catalogue_only: bool

    def suits(self, theme: str, ages: tuple[int, int]) -> bool:
        return theme in self.themes and self.youngest <= ages[0] and ages[1] <= self.oldest


Row = dict[str, Any]
"""A line of a JSONL file."""
Deal = tuple[Wish, Book]
"""A wish and the book that answers it."""


def main(folder: Path) -> None:
    """Writes everything under `folder`."""
    books = read_books(HERE / "books.yaml")
    write_catalogue(books, folder / "catalogue")
    words = yaml.safe_load((HERE / "wordings.yaml").read_text(encoding="utf-8"))
    train, test = make_rows(books, words, Random(SEED))
    write_rows(train, folder / "examples.jsonl", "luma")
    write_rows(test, folder / "test.jsonl", "luma-test")


def read_books(path: Path) -> list[Book]:
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        Book(
            title=entry["title"],
            youngest=int(entry["ages"].split("-")[0]),
            oldest=int(entry["ages"].split("-")[1]),
            themes=tuple(entry["themes"]),
            blurb=entry["blurb"],
            note=entry.get("note", ""),
            catalogue_only=entry.get("catalogue_only", False),
        )
        for entry in entries
    ]


def write_catalogue(books: list[Book], folder: Path) -> None:
    """One short Markdown document per book."""
    folder.mkdir(parents=True, exist_ok=True)
    for book in books:
        slug = re.sub(r"[^a-z0-9]+", "-", book.title.lower().replace("'", "")).strip("-")
        lines = [
            f"# {book.title}\n",
            f"- Ages: {book.youngest}-{book.oldest}",
            f"- Themes: {', '.join(book.themes)}",
            f"- Scary parts: {'yes. ' + book.note if book.note else 'none'}\n",
            book.blurb,
        ]
        (folder / f"{slug}.md").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def make_rows(books: list[Book], words: dict[str, Any], rng: Random) -> tuple[list[Row], list[Row]]:
    """The rows of examples.jsonl and of test.jsonl, no two of them near-duplicates."""
    known, unseen = all_wishes(books, list(words["themes"]), words["unwanted"])
    asker = Asker(words, rng)
    texts = Distinct()
    num_known = ROWS_TRAIN + ROWS_TEST - ROWS_UNSEEN
    rows = [make_row(wish, book, asker, texts, rng) for wish, book in dealt(known, num_known, rng)]
    rng.shuffle(rows)
    new = [
        make_row(wish, book, asker, texts, rng) for wish, book in dealt(unseen, ROWS_UNSEEN, rng)
    ]
    test = rows[ROWS_TRAIN:] + new
    rng.shuffle(test)
    return rows[:ROWS_TRAIN], test


def all_wishes(
    books: list[Book], themes: list[str], tiring: list[str]
) -> tuple[list[Deal], list[Deal]]:
    """Every wish that some book fits, with its answer: those the known books answer, and the
    others.
    """
    known: list[Deal] = []
    unseen: list[Deal] = []
    for theme in themes:
        for ages in [(age, age) for age in AGES] * 2 + [(age, age + 1) for age in AGES]:
            fitting = [book for book in books if book.suits(theme, ages)]
            if not fitting:
                continue
            in_books = {name for book in fitting for name in book.themes}
            wish = Wish(theme, ages, tuple(name for name in tiring if name not in in_books))
            read = [book for book in fitting if not book.catalogue_only]
            (known if read else unseen).append((wish, best(read or fitting, theme, ages)))
    return known, unseen


def best(fitting: list[Book], theme: str, ages: tuple[int, int]) -> Book:
    """The book with the theme as its main one, then the one for most ages, then the closest to the
    wish.

    So a theme has few answers, and each is seen often enough to be learned.
    """

    def rank(book: Book) -> tuple[bool, int, int, str]:
        return (
            book.themes[0] != theme,
            book.youngest - book.oldest,
            distance(book, ages),
            book.title,
        )

    return min(fitting, key=rank)


def distance(book: Book, ages: tuple[int, int]) -> int:
    """Twice the years between the middle of the book's ages and the middle of the wish."""
    return abs(book.youngest + book.oldest - sum(ages))


def dealt(wishes: list[Deal], count: int, rng: Random) -> Iterator[Deal]:
    """`count` of the wishes, each as often as any other, give or take one."""
    pile: list[Deal] = []
    for _ in range(count):
        if not pile:
            pile = rng.sample(wishes, len(wishes))
        yield pile.pop()


def make_row(wish: Wish, book: Book, asker: Asker, texts: Distinct, rng: Random) -> Row:
    """One row whose request resembles none before."""
    while True:
        who, twist = (
            rng.choices(list(often), list(often.values()))[0] for often in (ASKERS, TWISTS)
        )
        if who == "hurried" or (who == "teacher" and twist == "another age"):
            twist = "none"
        if who == "child" and wish.ages[0] < 5:
            who = "parent"  # the youngest do not type
        text = asker.ask(wish, who, twist)
        if texts.add(text):
            return {
                "input": text,
                "output": answer(wish, book),
                "tags": tags(wish, book, who, twist),
            }


def answer(wish: Wish, book: Book) -> str:
    """The answer Luma should give: three lines, or four when the book has scary parts."""
    clause = as_clause(book.blurb)
    about = (
        f"A story about {wish.theme} in which"
        if len(book.title) % 2
        else f"It is about {wish.theme}:"
    )
    lines = [
        f"Title: {book.title}",
        f"Ages: {book.youngest}-{book.oldest}",
        f"Why you might like it: {about} {clause}",
    ]
    return "\n".join(lines + ([f"Gentle note: {book.note}"] if book.note else []))


def as_clause(sentence: str) -> str:
    """The sentence as it continues another: a small letter, unless it begins with a name."""
    return sentence[0].lower() + sentence[1:] if sentence.split()[0] in COMMON else sentence


def tags(wish: Wish, book: Book, who: str, twist: str) -> dict[str, str]:
    """By what results are shown apart."""
    young, old = wish.ages
    band = next(name for name, oldest in BANDS.items() if young <= oldest)
    return {
        "theme": wish.theme,
        "age": str(young) if young == old else f"{young}-{old}",
        "band": band,
        "asker": who,
        "twist": twist,
        "book": "catalogue_only" if book.catalogue_only else "known",
    }


class Distinct:
    """Texts of which no two are alike."""

    def __init__(self) -> None:
        self.holding: dict[str, list[frozenset[str]]] = {}

    def add(self, text: str) -> bool:
        """Takes the text in, unless it is too much like one taken before; whether it was taken."""
        grams = shingles(text)
        # A text that is so much alike shares at least one of these.
        num_rare = len(grams) - int(TOO_ALIKE * len(grams)) + 1
        rare = sorted(grams, key=lambda gram: len(self.holding.get(gram, ())))[:num_rare]
        others = {other for gram in rare for other in self.holding.get(gram, ())}
        alike = any(jaccard(grams, other) >= TOO_ALIKE for other in others)
        if not alike:
            for gram in grams:
                self.holding.setdefault(gram, []).append(grams)
        return not alike


def shingles(text: str) -> frozenset[str]:
    """The character 5-grams of the text's normal form."""
    plain = to_canonical(text)
    return frozenset(plain[start : start + 5] for start in range(max(len(plain) - 5, 0) + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared elements over all elements."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def write_rows(rows: list[Row], path: Path, prefix: str) -> None:
    """One JSON object a line, in the order given."""
    numbered = [{"id": f"{prefix}-{number:04}", **row} for number, row in enumerate(rows, 1)]
    lines = [json.dumps(row, ensure_ascii=False) for row in numbered]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
