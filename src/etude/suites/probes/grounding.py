"""Whether what an answer names stands anywhere: in the task's documents, in the question, in a passage that it cites.

Names are runs of capitalised words (single words at the beginning of a sentence or line are passed over), numbers are
runs of digits. A paraphrase that is false goes unseen, and a true name that no document holds counts as invented.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from etude.base.word_lists import as_set
from etude.index.passages import Passage
from etude.text.normal_forms import normalise

_NAME = re.compile(
    r"\b[A-ZÀ-ÖØ-Þ][\w'’-]*(?:(?: (?:of|the|and|a|an|in|on|for|to|de|von|van|di|la)){0,3} [A-ZÀ-ÖØ-Þ0-9][\w'’-]*)*"
)
_OPENERS = as_set(
    "the a an by in on at it he she they we i you this that for from with when after before of my your our and"
)
"""Words that are capitalised at the beginning of a sentence and belong to no name that follows."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_BEGIN = re.compile(r"(?:\A|[.!?:\n]\s*[\"'“‘(*-]*\s*)\Z")


@dataclass(frozen=True)
class Grounds:
    """What may be named: the documents' passages by name, and words of the task itself (fields, labels)."""

    passages: Mapping[str, str]
    own: str

    @classmethod
    def of(cls, passages: Sequence[Passage], own: Sequence[str]) -> Grounds:
        """Those of read documents."""
        named: dict[str, str] = {}
        for one in passages:
            named[one.name] = named.get(one.name, "") + _padded(one.text)
        return cls(named, _padded(" ".join(own)))

    @cached_property
    def everything(self) -> str:
        """All passages and own words as one normalised text."""
        return "".join((*self.passages.values(), self.own))

    def invented(self, text: str, question: str) -> tuple[str, ...]:
        """Names and numbers of an answer that stand in no document, nor in the question."""
        return tuple(_missing(text, (self.everything, _padded(question))))

    def supported(self, text: str, question: str, cited: Sequence[str]) -> bool:
        """Whether every name and number of an answer stands in a passage it cites, or in the question."""
        sources = [self.passages.get(name, "") for name in cited]
        return not any(_missing(text, (*sources, self.own, _padded(question))))


def _padded(text: str) -> str:
    return f" {normalise(text)} "


def _missing(text: str, sources: Sequence[str]) -> Iterator[str]:
    """Each name and number that no source holds, once."""
    for said in dict.fromkeys((*_names(text), *_NUMBER.findall(text))):
        if not any(_padded(said) in source for source in sources):
            yield said


def _names(text: str) -> Iterator[str]:
    for found in _NAME.finditer(text):
        name = found[0]
        if _BEGIN.search(text[max(0, found.start() - 12) : found.start()]):
            first, _, rest = name.partition(" ")
            name = rest if first.casefold() in _OPENERS or not rest else name
        if name:
            yield name
