"""Luma's desk: the one function that she may call, whether a conversation was done, and whether an
answer is right.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).parents[1] / "luma" / "catalogue"
SHELVES = [
    "a new baby",
    "cooking",
    "detectives",
    "dinosaurs",
    "dragons",
    "football",
    "forest animals",
    "friendship",
    "gardens",
    "ghosts",
    "magic",
    "moving house",
    "music",
    "robots",
    "snow",
    "space",
    "the sea",
    "trains",
]
"""The main theme of the books on each shelf, from shelf 1."""


class Desk:
    """The library on the day of a conversation. The row says until when its book is lent, or "no";
    a conversation with a user of `etude serve` or `etude chat` may not say it.
    """

    def __init__(self, row: Any) -> None:
        self.lent = row.tags.get("lent", "no")
        self.looked_up: list[str] = []

    def on_shelf(self, title: str) -> str:
        """Look whether a book of the library is on its shelf now."""
        theme = catalogue()[title]  # another title is an error, which Luma reads
        self.looked_up.append(title)
        return (
            f"on shelf {SHELVES.index(theme) + 1}"
            if self.lent == "no"
            else f"lent until {self.lent}"
        )


def finished(desk: Desk, row: Any) -> bool:
    """Whether exactly the books were looked up that the row looks up."""
    return desk.looked_up == [json.loads(call)["arguments"]["title"] for call in calls(row.input)]


def calls(turns: Any) -> list[str]:
    """The calls in a conversation, as JSON."""
    texts = [turn.content for turn in turns if turn.role == "assistant"]
    return [
        call
        for text in texts
        for call in re.findall(r"<tool_call>(.*?)</tool_call>", text, re.DOTALL)
    ]


def fits(example: Any, answer: str) -> bool:
    """Whether an answer does what the row's does: recommend the same book for the same ages, make
    the same call, say where the book is, or decline.
    """
    return summary(answer) == summary(example.output)


def summary(answer: str) -> tuple[str, ...]:
    """What an answer does, without its wording."""
    if found := re.findall(r"<tool_call>(.*?)</tool_call>", answer, re.DOTALL):
        return ("call", *(re.sub(r"\s+", " ", call.strip()) for call in found))
    if found := re.findall(r"^(?:Title|Ages):(.*)$", answer, re.MULTILINE):
        return ("book", *(line.strip().casefold() for line in found))
    if found := re.findall(r"on shelf \d+|lent until \w+", answer):
        return ("place", *found)
    return ("no",) if answer.startswith("I cannot help with that") else ("other", answer)


@cache
def catalogue() -> dict[str, str]:
    """The main theme of each book."""
    pages = [path.read_text(encoding="utf-8") for path in sorted(CATALOGUE.glob("*.md"))]
    found = [re.search(r"# (.+)\n[\s\S]*?- Themes: ([^,\n]+)", page) for page in pages]
    return {book[1]: book[2] for book in found if book}
