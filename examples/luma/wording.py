"""Puts a request for a book into words: who asks, for which child, how the age and the theme are said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen".split()
MONTHS = "January February March April May June July August September October November".split()
HIM = {"she": ("her", "her", "herself"), "he": ("him", "his", "himself")}
SIBLINGS = ("brother", "sister", "cousin")
TYPOS = {
    "because": "becuase", "really": "realy", "friend": "freind", "please": "plese", "something": "somthing",
    "recommend": "reccomend", "their": "thier", "would": "woud", "looking": "loking", "favourite": "favorit",
    "weekend": "weeknd", "which": "wich", "read": "raed", "about": "abuot", "the": "teh", "have": "hvae",
    "anything": "anythign", "suggest": "sugest", "story": "storry", "birthday": "brithday", "book": "bok",
}  # fmt: skip


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
    """The child in a sentence."""

    before: str
    noun: str
    he: str

    @property
    def who(self) -> str:
        return f"{self.before} {self.noun}"

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
        """One request. `asker` is a key of `people`, or child, teacher, hurried; `twist` is none, another
        age or unwanted theme: what else is mentioned that must not lead astray."""
        if asker == "child":
            return self.by_child(wish, twist)
        if asker == "teacher":
            return self.by_teacher(wish, twist)
        if asker == "hurried":
            return self.slip(self.fill(self.pick("terse"), wish), 0.1)
        return self.by_adult(wish, self.child(asker), twist)

    def by_adult(self, wish: Wish, child: Child, twist: str) -> str:
        theme = self.words["themes"][wish.theme]
        kind = self.rng.choice(["plain", "keen", "scene", "scene"] if theme["loves"] else ["plain", "scene"])
        parts = [self.fill(self.rng.choice(self.words["frames"][kind]), wish, child)]
        if twist != "none":
            parts.append(self.twist(wish, child, twist))
        elif self.rng.random() < 0.25:
            parts.append(self.pick("asides").format(**child.forms))
        return self.finish(parts, self.words["openers"]["adult"])

    def by_teacher(self, wish: Wish, twist: str) -> str:
        parts = [self.fill(self.pick("teacher"), wish)]
        if twist == "unwanted theme":
            no = self.rng.choice(wish.unwanted)
            parts.append(self.rng.choice([f"We did {no} last term.", f"Not {no}, please, we've just had that."]))
        return self.finish(parts, self.words["openers"]["adult"])

    def by_child(self, wish: Wish, twist: str) -> str:
        parts = [self.fill(self.pick("kid"), wish)]
        if twist != "none":
            parts.append(self.twist(wish, None, twist))
        if self.rng.random() < 0.2 and not parts[0].startswith(("h", "dear")):
            parts.insert(0, self.rng.choice(self.words["openers"]["kid"]))
        text = ". ".join(parts) if parts[0][-1] not in "?." else " ".join(parts)
        if self.rng.random() < 0.45:
            text = capitals(re.sub(r"\bi\b", "I", re.sub(r"\b([Ii])m\b", r"I'm", text)))
            text += "" if text[-1] in "?." else self.rng.choice([".", "", "!"])
        return self.slip(text, 0.2)

    def finish(self, parts: list[str], openers: list[str]) -> str:
        if self.rng.random() < 0.3:
            parts.insert(0, self.rng.choice(openers))
        if self.rng.random() < 0.3:
            parts.append(self.pick("closers"))
        text = capitals(tidy(" ".join(parts)))
        if self.rng.random() < 0.08:
            text = text.lower().rstrip(".!")
        return self.slip(text, 0.06)

    def twist(self, wish: Wish, child: Child | None, twist: str) -> str:
        name = ("" if child else "kid_") + ("twist_age" if twist == "another age" else "twist_theme")
        young, old = wish.ages
        other = self.rng.choice([age for age in range(3, 13) if age < young - 1 or age > old + 1])
        return self.pick(name).format(
            **(child.forms if child else {}),
            sibling=self.rng.choice(SIBLINGS),
            other=self.number(other),
            no=self.rng.choice(wish.unwanted),
        )

    def fill(self, frame: str, wish: Wish, child: Child | None = None) -> str:
        """The frame with theme and age in it; without a child for frames that speak of none."""
        theme = self.words["themes"][wish.theme]
        slots = {
            "about": self.rng.choice(theme["about"]),
            "loves": self.rng.choice(theme["loves"] or [""]),
            "mine": self.rng.choice(theme["mine"]),
            "name": self.rng.choice(self.words["names"][self.rng.choice(["she", "he"])]).lower(),
            "kid_age": self.kid_age(*wish.ages),
            "terse_age": self.terse_age(*wish.ages),
            "terse_kid": self.terse_kid(*wish.ages),
            **self.school(*wish.ages),
        }
        if child:
            scene = self.rng.choice(theme["scenes"])
            slots |= child.forms | {
                "s": child.who,
                "scene": scene.format(s=child.who, **child.forms),
                "scene_he": scene.format(s=child.he, **child.forms),
                "aged": self.aged(child, *wish.ages),
                "age": self.age_sentence(child.he, *wish.ages),
                "age_of": self.age_sentence(child.who, *wish.ages),
            }
        return tidy(frame.format(**slots))

    def aged(self, child: Child, young: int, old: int) -> str:
        """The child with its age, as a noun phrase: "my six-year-old niece", "my niece, nearly seven,"."""
        n, next_n = self.number(young), self.number(old)
        if young == old:
            forms = [
                f"{child.before} {n}-year-old {child.noun}", f"{child.before} {n}-year-old {child.noun}",
                f"{child.who} ({n})", f"{child.who}, who is {n},", f"{child.who}, aged {n},",
                f"{child.who}, who has just turned {n},",
            ]  # fmt: skip
            if child.before in ("my", "our") and child.noun in ("daughter", "son"):
                forms += [f"{child.before} {n}-year-old"] * 2
            return self.rng.choice(forms)
        return self.rng.choice([
            f"{child.who}, who turns {next_n} in {self.rng.choice(MONTHS)},", f"{child.who}, nearly {next_n},",
            f"{child.who} (almost {next_n})", f"{child.who}, who is {n}, nearly {next_n},",
            f"{child.who}, who is in {self.year(young)},", f"{child.who}, who will be {next_n} next month,",
        ])  # fmt: skip

    def age_sentence(self, who: str, young: int, old: int) -> str:
        n, next_n = self.number(young), self.number(old)
        if young == old:
            forms = ["is {n}.", "is {n} years old.", "just turned {n}.", "turned {n} last week.", "is {n} and a half."]
        else:
            forms = [
                "turns {next} in {month}.", "is nearly {next}.", "will be {next} in {month}.",
                "is in {year}.", "is {n}, but not for much longer.", "is about to turn {next}.",
            ]  # fmt: skip
        month, year = self.rng.choice(MONTHS), self.year(young)
        return f"{who} {self.rng.choice(forms).format(n=n, next=next_n, month=month, year=year)}"

    def kid_age(self, young: int, old: int) -> str:
        if young == old:
            forms = ["i am {n}", "im {n}", "im {n} years old", "i am {n} and a half", "i turned {n} yesterday"]
        else:
            forms = ["im nearly {next}", "i will be {next} in {month}", "im in {year}", "im almost {next}"]
        month, year = self.rng.choice(MONTHS).lower(), self.year(young).lower()
        n, next_n = self.number(young), self.number(old)
        return self.rng.choice(forms).format(n=n, next=next_n, month=month, year=year)

    def terse_age(self, young: int, old: int) -> str:
        if young == old:
            forms = ["age {n}", "for a {n} year old", "{n} yrs", "aged {n}", "for {n}yo", "{n} years old"]
        else:
            forms = ["ages {n} to {next}", "for {n}-{next} yrs", "{year}", "for a child in {year}", "{n} going on {next}"]
        n = str(young) if self.rng.random() < 0.6 else NUMBERS[young]
        next_n = str(old) if n.isdigit() else NUMBERS[old]
        form = self.rng.choice(forms).format(n=n, next=next_n, year=self.year(young).lower())
        return form.replace("for a eight", "for an eight").replace("for a 8", "for an 8").replace("for a 11", "for an 11")

    def terse_kid(self, young: int, old: int) -> str:
        if young == old:
            forms = ["{n} yr old", "boy of {n}", "girl of {n}", "my {n} year old", "girl ({n})", "boy ({n})"]
        else:
            forms = ["my nearly {next} yr old", "girl of {n}, almost {next}", "boy of {n}, almost {next}", "kid in {year}"]
        n, next_n = self.number(young), self.number(old)
        return self.rng.choice(forms).format(n=n, next=next_n, year=self.year(young).lower())

    def school(self, young: int, old: int) -> dict[str, str]:
        """How a teacher names the class, in a sentence, in brackets and as children."""
        n, next_n = self.number(young), self.number(old)
        if young == old:
            kids = f"{n}-year-olds"
            return {"class": f"a group of {kids}", "class_short": f"{kids}", "class_kids": kids}
        year = self.year(young)
        mixed = f"{n}- and {next_n}-year-olds"
        return {
            "class": self.rng.choice([f"my {year} class", f"a class of {mixed}", f"my {year} children"]),
            "class_short": self.rng.choice([year, mixed]),
            "class_kids": self.rng.choice([f"{year} children", mixed]),
        }

    def year(self, young: int) -> str:
        """The school year whose children are `young` or one year older, in England or the States."""
        english = {3: "nursery", 4: "Reception"}.get(young, f"Year {young - 4}")
        ordinals = "first second third fourth fifth sixth".split()
        american = {5: "kindergarten"} | {age: f"{name} grade" for age, name in enumerate(ordinals, 6)}
        return american[young] if young in american and self.rng.random() < 0.25 else english

    def child(self, asker: str) -> Child:
        before, noun, he = self.rng.choice(self.words["people"][asker])
        return Child(before, noun.replace("NAME", self.rng.choice(self.words["names"][he])), he)

    def number(self, n: int) -> str:
        return str(n) if self.rng.random() < 0.4 else NUMBERS[n]

    def pick(self, name: str) -> str:
        return self.rng.choice(self.words[name])

    def slip(self, text: str, chance: float) -> str:
        """The text, now and then with one slip of the fingers; never in a word that tells age or theme."""
        found = [word for word in TYPOS if re.search(rf"\b{word}\b", text)]
        if not found or self.rng.random() >= chance:
            return text
        word = self.rng.choice(found)
        return re.sub(rf"\b{word}\b", TYPOS[word], text, count=1)


def tidy(text: str) -> str:
    """Repairs what meeting slots leave behind: ", ." and the like, double spaces."""
    text = re.sub(r",\s*([.?!,:)])", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def capitals(text: str) -> str:
    """A capital at the start of each sentence."""
    return re.sub(r"(^|[.!?]\)?\s+)(\(?)([a-z])", lambda found: found[1] + found[2] + found[3].upper(), text)
