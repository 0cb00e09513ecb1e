"""Writes support.csv: messages to a made-up photo shop, each with what its writer wants.

    python make_examples.py [FOLDER]

The same seed writes the same bytes. Three of five messages speak of one thing (difficulty: easy).
The others tell of one thing and want another (mixed): the label is always the wish. A customer
writes up to three times, so rows are grouped by customer.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from random import Random
from typing import Any

import yaml

from etude.text.normal_forms import to_canonical

HERE = Path(__file__).parent
SEED = 7
ROWS = 600
COLUMNS = ("message", "category", "customer", "channel", "difficulty")
CATEGORIES = ("billing issue", "technical problem", "refund request", "general question")
COMPLAINTS = CATEGORIES[:3]
CHANNELS = ("email", "email", "email", "chat", "chat", "phone note")
SHARE_MIXED = 0.4
TOO_ALIKE = 0.75
"""Below the 0.8 from which etude calls two texts near-duplicates."""


def main(folder: Path) -> None:
    """Writes the file into `folder`."""
    words = yaml.safe_load((HERE / "wordings.yaml").read_text(encoding="utf-8"))
    with (folder / "support.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(make_rows(words, Random(SEED)))


def make_rows(words: dict[str, Any], rng: Random) -> list[dict[str, str]]:
    """All rows, in an order that tells nothing."""
    writer = Writer(words, rng)
    seen: list[frozenset[str]] = []
    rows: list[dict[str, str]] = []
    while len(rows) < ROWS:
        category = CATEGORIES[len(rows) % len(CATEGORIES)]
        channel = rng.choice(CHANNELS)
        difficulty = "mixed" if rng.random() < SHARE_MIXED else "easy"
        text = writer.message(category, channel, difficulty)
        grams = shingles(text)
        if all(jaccard(grams, other) < TOO_ALIKE for other in seen):
            seen.append(grams)
            rows.append(dict(zip(COLUMNS, (text, category, "", channel, difficulty), strict=True)))
    rng.shuffle(rows)
    for row, customer in zip(rows, customers(rng), strict=False):
        row["customer"] = customer
    rng.shuffle(rows)
    return rows


def shingles(text: str) -> frozenset[str]:
    """The character 5-grams of the text's normal form."""
    plain = to_canonical(text)
    return frozenset(plain[start : start + 5] for start in range(max(len(plain) - 5, 0) + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared elements over all elements."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def customers(rng: Random) -> list[str]:
    """A customer number for every row; one in three customers comes back once or twice."""
    numbers = rng.sample(range(10000, 99999), ROWS)
    return [f"C{number}" for number in numbers for _ in range(rng.choice((1, 1, 1, 1, 2, 3)))][
        :ROWS
    ]


class Writer:
    """Draws messages from `words` (wordings.yaml), all choices from `rng`."""

    def __init__(self, words: dict[str, Any], rng: Random) -> None:
        self.words = words
        self.rng = rng

    def message(self, category: str, channel: str, difficulty: str) -> str:
        """One message that wants what `category` says."""
        note = channel == "phone note"
        body = self.hard(category, note) if difficulty == "mixed" else self.easy(category, note)
        opening = self.rng.choice(self.words["openings"][channel])
        if note:
            return sentences(
                self.filled(joined([opening, body] if self.rng.random() < 0.5 else [body, opening]))
            )
        body = self.filled(self.with_aside(body, category))
        ending = self.rng.choice(self.words["endings"][channel])
        if channel == "chat":
            return self.typed(joined([opening, body, ending]))
        name = self.rng.choice(self.words["slots"]["name"])
        return "\n\n".join(part for part in (opening, sentences(body), f"{ending}\n{name}") if part)

    def easy(self, category: str, note: bool) -> str:
        """A situation and what its writer adds."""
        said, *more = self.rng.choice(self.words["easy"][category]["noted" if note else "cases"])
        added = self.rng.sample(more, self.rng.choice((1, 1, 1, 2))) if len(more) > 1 else more
        if category in CATEGORIES[:2] and not note and self.rng.random() < 0.3:
            added = [self.rng.choice(self.words["neutral"])]
        return joined([said, *added])

    def hard(self, category: str, note: bool) -> str:
        """A message that also speaks of what is not wanted."""
        kind = self.rng.choice(("one situation", "two matters", "two matters", "denied"))
        if kind == "two matters":
            return self.two_matters(category, note)
        if kind == "denied" and not note:
            return joined(
                [self.easy(category, note), self.rng.choice(self.words["denied"][category])]
            )
        case = self.rng.choice([case for case in self.words["mixed"] if category in case["asks"]])
        ask = self.rng.choice(case["asks"][category])
        return f'{case["noted"]} In their words: "{ask}"' if note else joined([case["said"], ask])

    def two_matters(self, category: str, note: bool) -> str:
        """A complaint that is settled or can wait, and the wish."""
        other = self.rng.choice([name for name in COMPLAINTS if name != category])
        frame = self.rng.choice(self.words["two_matters_noted" if note else "two_matters"])
        told = self.rng.choice(self.words["easy"][other]["noted" if note else "cases"])[0]
        return str(frame).format(other=self.filled(told), this=self.easy(category, note))

    def with_aside(self, body: str, category: str) -> str:
        """The body, half of the time with a remark that tells nothing about the wish."""
        asides = self.words["asides"]
        aside = self.rng.choice(
            asides["anyone"] + (asides["complaint"] if category in COMPLAINTS else [])
        )
        return self.rng.choice((body, body, joined([aside, body]), joined([body, aside])))

    def filled(self, text: str) -> str:
        """The text with every slot filled; a slot that comes twice has one value."""
        values = {name: self.rng.choice(choices) for name, choices in self.words["slots"].items()}
        values["order"] = str(self.rng.randrange(100000, 999999))
        values["their_device"] = values["device"].replace("my ", "their ")
        text = re.sub(
            r"\b(on|by|since) \{day\}", lambda found: self.when(found[1], values["day"]), text
        )
        return re.sub(r"\ba (album)", r"an \1", text.format(**values))

    def when(self, word: str, day: str) -> str:
        """`on Monday`, but `yesterday`; `by Monday`, never `by yesterday`."""
        if day[0].isupper():
            return f"{word} {day}"
        return {"on": day, "since": f"since {day}", "by": "by Thursday"}[word]

    def typed(self, text: str) -> str:
        """The text as quickly typed in a chat."""
        if self.rng.random() < 0.6:
            text = text.lower()
        if self.rng.random() < 0.4:
            text = text.replace("'", "")
        return text.rstrip(".") if self.rng.random() < 0.5 else text


def joined(parts: list[str]) -> str:
    return " ".join(part for part in parts if part)


def sentences(text: str) -> str:
    """A capital at the start of each sentence."""
    return re.sub(r"(^|[.!?:]\"? +)([a-z])", lambda found: found[1] + found[2].upper(), text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
