"""Cases made from the user's own dev rows: the rows as they are, rewritten by rule, and put into patterns of suites."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from etude.data.dataset import Dataset
from etude.evaluate import unit
from etude.suites.cases import OTHER_LABEL, OTHER_ROW, ROW, Case, Entry, chat
from etude.types import Act, Example

DEV_ROWS = "dev rows"
"""What cases are about that are dev rows as they are."""
EMOJI = ("🙂", "🙏", "😀", "❗", "✨", "👀")


def _typos(text: str, rng: random.Random) -> str:
    """Swaps two neighbouring letters in every fourth longer word, at least in one."""
    words = re.findall(r"\S+|\s+", text)
    long = [place for place, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for place in rng.sample(long, min(len(long), 1 + len(long) // 4)):
        at = rng.randrange(1, len(words[place]) - 2)
        word = words[place]
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return "".join(words)


def _missing_letters(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<=\w)[aeiou](?=\w)", lambda found: found[0] if rng.random() < 0.85 else "", text)


def _emoji(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<=[.!?])(?=\s|$)", lambda _: f" {rng.choice(EMOJI)}", text) + f" {rng.choice(EMOJI)}"


def _spaces(text: str, rng: random.Random) -> str:
    return "\n\n  " + re.sub(" ", lambda _: " " * rng.choice((1, 1, 2, 4)), text) + "   \n"


VARIANTS: Mapping[str, Callable[[str, random.Random], str]] = {
    "typos": _typos,
    "missing letters": _missing_letters,
    "capitals": lambda text, rng: text.upper(),
    "small letters": lambda text, rng: text.lower(),
    "no punctuation": lambda text, rng: re.sub(r"[.,;:!?]+(?=\s|$)", "", text),
    "extra white space": _spaces,
    "emoji": _emoji,
    "greeting": lambda text, rng: f"Hello! {text} Thank you very much.",
    "on behalf of a friend": lambda text, rng: f"A friend asked me to send you this: {text}",
    "a word of hurry": lambda text, rng: f"Quick one: {text}",
}
"""Name -> the same question written otherwise; none changes what is asked."""


@dataclass(frozen=True)
class Rows:
    """The dev rows from which cases are made, and how many of them each pattern takes."""

    dev: Dataset
    each: int
    seed: int
    act: Callable[[Example], Act]
    """What the wanted answer of a row does: rows may teach refusals."""
    labels: tuple[str, ...] = ()

    def drawn(self, name: str, least: int = 1) -> list[Example]:
        """A seeded draw of rows, at least so many."""
        rng = random.Random(f"{self.seed}/{name}")
        return rng.sample(list(self.dev), min(max(self.each, least), len(self.dev)))


def plain_id(row: Example) -> str:
    """The id of the case that is a dev row as it is."""
    return f"normal/{row.id}"


def plain_cases(rows: Rows) -> Iterator[Case]:
    """The dev rows as they are."""
    return (plain_case(row, rows) for row in rows.dev)


def plain_case(row: Example, rows: Rows) -> Case:
    """A dev row as it is."""
    expect = (rows.act(row),)
    return Case(
        plain_id(row), "normal", DEV_ROWS, row.input, expect, example=row, unit=unit(row), where=row.location
    )


def varied(rows: Rows) -> Iterator[Case]:
    """Rows rewritten by rule, for the suite `unusual`."""
    for name, change in VARIANTS.items():
        for row in rows.drawn("rewritten"):  # the same for all, so that a row is asked in many ways
            rng = random.Random(f"{rows.seed}/{name}/{row.id}")
            turns = (*row.input[:-1], replace(row.input[-1], content=change(row.input[-1].content, rng)))
            as_it_is, new = plain_case(row, rows), f"unusual/{name}/{row.id}"
            yield replace(as_it_is, id=new, suite="unusual", about=name, input=turns, plain=as_it_is.id)


def filled(entry: Entry, rows: Rows) -> Iterator[Case]:
    """The cases of an entry whose questions name {row}: each pattern in turn with a row of its own."""
    name = f"{entry.case.suite}/{entry.case.about}/{entry.case.where}"
    patterns = entry.patterns
    for number, row in enumerate(rows.drawn(name, len(patterns))):
        rng = random.Random(f"{rows.seed}/{entry.case.about}/{row.id}")
        pattern = patterns[number % len(patterns)]
        texts = tuple(filter(None, (_filled(text, row, rows, rng) for text in pattern)))
        if len(texts) == len(pattern):
            act = rows.act(row)
            yield replace(
                entry.case,
                id=f"{name}/{row.id}",
                input=(*row.input[:-1], *chat(texts)),
                expect=entry.case.expect if act == "answer" else (act,),
                example=row if entry.right else None,
                plain=plain_id(row),
                unit=unit(row),
            )


def _filled(text: str, row: Example, rows: Rows, rng: random.Random) -> str | None:
    """The pattern with its row; None if it names another row or label and there is none."""
    others: Sequence[str] = [other.input[-1].content for other in rows.dev if other.id != row.id]
    labels = [label for label in rows.labels if label != row.output and label not in row.references]
    for name, choice in ((OTHER_ROW, others), (OTHER_LABEL, labels)):
        if name in text:
            if not choice:
                return None
            text = text.replace(name, rng.choice(choice))
    return text.replace(ROW, row.input[-1].content)
