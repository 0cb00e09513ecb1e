"""Puts a request for a book into words: who asks, for which child, how the age and the theme are
said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

HIM = {"she": ("her", "her", "herself"), "he": ("him", "his", "himself")}
AT_HOME = re.compile(r"\b(daughter|son|girl|boy|stepson|stepdaughter|sister|brother)\b")
WE = re.compile(r"\b(we|us|our|my|me|I)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    theme: str
    ages: tuple[int, int]
    """The age asked for, twice when it is one age; (6, 7) for "turns seven in May" or "Year 2"."""
    unwanted: tuple[str, ...]
    """Themes that no fitting book has, so that the request may refuse them."""


@dataclass(frozen=True)
class Child:
    """The child in a sentence: "my" and "niece", and the pronoun."""

    before: str
    noun: str
    he: str

    @property
    def who(self) -> str:
        return f"{self.before} {self.noun}"

    @property
    def at_home(self) -> bool:
        """Whether the child lives with the asker, so that "we" can be said of both."""
        return self.before in ("my", "our") and bool(AT_HOME.search(self.noun))

    @property
    def forms(self) -> dict[str, str]:
        him, his, himself = HIM[self.he]
        return {"he": self.he, "him": him, "his": his, "himself": himself}


class Asker:
    """Draws requests from `words` (wordings.yaml), all choices from `rng`."""

    def __init__(self, words: dict[str, Any], rng: Random) -> None:
        self.words = words
        self.rng = rng

    def ask(self, wish: Wish, asker: str, twist: str) -> str:
        """One request. `asker` is a key of `people`, or child, teacher, hurried; `twist` is none,
        another age or unwanted theme: what else is mentioned that must not lead astray.
        """
        if asker == "child":
            return self.by_child(wish, twist)
        if asker == "teacher":
            return self.by_teacher(wish, twist)
        if asker == "hurried":
            return self.slip(self.fill(self.pick("terse"), wish), 0.1)
        return self.by_adult(wish, self.child(asker), twist)

    def by_adult(self, wish: Wish, child: Child, twist: str) -> str:
        kinds = (
            ["plain", "keen", "scene", "scene"]
            if self.words["themes"][wish.theme]["loves"]
            else ["plain", "scene"]
        )
        frames = self.words["frames"][self.rng.choice(kinds)]
        parts = [self.fill(self.rng.choice(frames), wish, child)]
        if twist != "none":
            parts.append(self.twist(wish, child, twist))
        elif self.rng.random() < 0.25:
            parts.append(self.pick("asides").format(**child.forms))
        return self.finished(parts)

    def by_teacher(self, wish: Wish, twist: str) -> str:
        parts = [self.fill(self.pick("teacher"), wish)]
        if twist != "none":
            parts.append(self.pick("teacher_twist_theme").format(no=self.rng.choice(wish.unwanted)))
        return self.finished(parts)

    def by_child(self, wish: Wish, twist: str) -> str:
        parts = [self.fill(self.pick("kid"), wish)]
        if twist != "none":
            parts.append(self.twist(wish, None, twist))
        if self.rng.random() < 0.2 and not parts[0].startswith(("hi", "hello", "dear")):
            parts.insert(0, self.rng.choice(self.words["openers"]["kid"]))
        text = " ".join(part if part[-1] in "?!" else f"{part}." for part in parts)
        if self.rng.random() < 0.6:
            text = text.rstrip(".?")
        if self.rng.random() < 0.45:
            text = capitals(re.sub(r"\bi\b", "I", re.sub(r"\bim\b", "I'm", text)))
        return self.slip(text, 0.2)

    def finished(self, parts: list[str]) -> str:
        """What a grown-up says, now and then with a greeting, thanks, no capitals or a slip."""
        if self.rng.random() < 0.3:
            parts.insert(0, self.rng.choice(self.words["openers"]["adult"]))
        if self.rng.random() < 0.3:
            parts.append(self.pick("closers"))
        text = capitals(tidy(" ".join(parts)))
        if self.rng.random() < 0.08:
            text = text.lower().rstrip(".!")
        return self.slip(text, 0.06)

    def twist(self, wish: Wish, child: Child | None, twist: str) -> str:
        """A sentence about another child's age or a theme that is not wanted."""
        name = ("" if child else "kid_") + (
            "twist_age" if twist == "another age" else "twist_theme"
        )
        young, old = wish.ages
        return self.pick(name).format(
            **(child.forms if child else {}),
            sibling="cousin" if wish.theme == "a new baby" else self.pick("siblings"),
            other=self.number(
                self.rng.choice([age for age in range(3, 13) if not young - 2 < age < old + 2])
            ),
            no=self.rng.choice(wish.unwanted),
        )

    def fill(self, frame: str, wish: Wish, child: Child | None = None) -> str:
        """The frame with theme and age in it; without a child for frames that speak of none."""
        theme = self.words["themes"][wish.theme]
        slots = {
            "about": self.rng.choice(theme["about"]),
            "topic": self.rng.choice(
                [about for about in theme["about"] if not about.startswith("a ")]
            ),
            "loves": self.rng.choice(theme["loves"] or [""]),
            "mine": self.rng.choice(of_age(theme["mine"], wish.ages) or [""]),
            "name": self.rng.choice(self.words["names"][self.rng.choice(["she", "he"])]),
            "kid_age": self.age("kid", wish.ages).lower(),
            "terse_age": self.age("terse", wish.ages).lower(),
            "terse_kid": self.age("terse_kid", wish.ages).lower(),
            **{name: self.age(name, wish.ages) for name in ("class", "class_short", "class_kids")},
        }
        return tidy(
            frame.format(**slots | (self.about_child(child, theme, wish.ages) if child else {}))
        )

    def about_child(
        self, child: Child, theme: dict[str, Any], ages: tuple[int, int]
    ) -> dict[str, str]:
        scenes = of_age(theme["scenes"], ages)
        scene = self.rng.choice([text for text in scenes if child.at_home or not WE.search(text)])
        # "my seven-year-old little girl" is what nobody says
        aged = {"before": child.before, "noun": child.noun.removeprefix("little ")}
        return child.forms | {
            "s": child.who,
            "scene": scene.format(s=child.who, **child.forms),
            "scene_he": scene.format(s=child.he, **child.forms),
            "aged": self.age("aged", ages, who=child.who, **aged),
            "age": self.age("sentence", ages, who=child.he),
            "age_of": self.age("sentence", ages, who=child.who),
        }

    def age(self, manner: str, ages: tuple[int, int], **child: str) -> str:
        """The age said in one of the ways listed under `ages: manner`."""
        young, old = ages
        years = self.words["years"]
        american = young in years["american"] and self.rng.random() < 0.25
        form: str = self.rng.choice(self.words["ages"][manner]["one" if young == old else "two"])
        digits = self.rng.random() < 0.45
        return form.format(
            n=self.number(young, digits),
            next=self.number(old, digits),
            month=self.pick("months"),
            year=years["american" if american else "english"].get(young, ""),
            **child,
        )

    def child(self, asker: str) -> Child:
        before, noun, he = self.rng.choice(self.words["people"][asker])
        return Child(before, noun.replace("NAME", self.rng.choice(self.words["names"][he])), he)

    def number(self, n: int, digits: bool | None = None) -> str:
        if digits is None:
            digits = self.rng.random() < 0.45
        return str(n if digits else self.words["numbers"][n])

    def pick(self, name: str) -> str:
        return str(self.rng.choice(self.words[name]))

    def slip(self, text: str, chance: float) -> str:
        """The text, with this chance with one slip of the fingers."""
        typos = self.words["typos"]
        found = [word for word in typos if re.search(rf"\b{word}\b", text)]
        if not found or self.rng.random() >= chance:
            return text
        word = self.rng.choice(found)
        return re.sub(rf"\b{word}\b", typos[word], text, count=1)


def of_age(texts: list[str], ages: tuple[int, int]) -> list[str]:
    """The texts that can be said of a child of these ages, without the "3-7 |" before them."""
    found = []
    for text in texts:
        limits, bar, rest = text.rpartition(" | ")
        youngest, oldest = limits.split("-") if bar else ("0", "99")
        if int(youngest) <= ages[0] and ages[1] <= int(oldest):
            found.append(rest)
    return found


def tidy(text: str) -> str:
    """Repairs what meeting slots leave behind: ", ." and the like, "a eleven", double spaces."""
    text = re.sub(r",\s*([.?!,:)])", r"\1", text)
    text = re.sub(r"\b([Aa]) (?=8|11|eight|eleven)", r"\1n ", text)
    return re.sub(r"\s+", " ", text).strip()


def capitals(text: str) -> str:
    """A capital at the start of each sentence."""
    return re.sub(
        r"(^|[.!?]\)?\s+)(\(?)([a-z])", lambda found: found[1] + found[2] + found[3].upper(), text
    )
