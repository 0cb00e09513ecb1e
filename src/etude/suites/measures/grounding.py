"""Whether the names and numbers of an answer are in the documents, in the question, or in a passage that it cites.

Names are runs of capitalised words (single words at the beginning of a sentence or line are skipped), and numbers are
runs of digits. A wrong paraphrase is missed, and a real name that is in no document counts as invented.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from etude.base.word_lists import parse_words
from etude.index.passages import Passage
from etude.text.normal_forms import normalise

_NAME = re.compile(
    r"\b[A-ZÀ-ÖØ-Þ][\w'’-]*(?:(?: (?:of|the|and|a|an|in|on|for|to|de|von|van|di|la)){0,3} [A-ZÀ-ÖØ-Þ0-9][\w'’-]*)*"
)
_OPENERS = parse_words(
    "the a an by in on at it he she they we i you this that for from with when after before of my your our and"
)
"""Words that are capitalised at the beginning of a sentence but are not part of the name that follows."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_BEGIN = re.compile(r"(?:\A|[.!?:\n]\s*[\"'“‘(*-]*\s*)\Z")


@dataclass(frozen=True)
class Grounds:
    """The texts whose names an answer may use: passages by name, and words of the task (fields, labels)."""

    passages: Mapping[str, str]
    task_words: str

    @classmethod
    def from_passages(cls, passages: Sequence[Passage], words: Sequence[str]) -> "Grounds":
        """Normalise the texts of passages and words."""
        texts: dict[str, str] = {}
        for passage in passages:
            texts[passage.name] = texts.get(passage.name, "") + _pad(passage.text)
        return cls(texts, _pad(" ".join(words)))

    @cached_property
    def all_text(self) -> str:
        """All passages and words of the task as one normalised text."""
        return "".join((*self.passages.values(), self.task_words))

    def find_invented(self, text: str, question: str) -> tuple[str, ...]:
        """Find names and numbers of an answer that are in no document and not in the question."""
        return tuple(_find_missing(text, (self.all_text, _pad(question))))

    def is_supported(self, text: str, question: str, cited: Sequence[str]) -> bool:
        """Whether every name and number of an answer is in a passage that it cites, or in the question."""
        sources = [self.passages.get(name, "") for name in cited]
        return not any(_find_missing(text, (*sources, self.task_words, _pad(question))))


def _pad(text: str) -> str:
    return f" {normalise(text)} "


def _find_missing(text: str, sources: Sequence[str]) -> Iterator[str]:
    """Yield each name and number that is in no source, once."""
    for name_or_number in dict.fromkeys((*_find_names(text), *_NUMBER.findall(text))):
        if not any(_pad(name_or_number) in source for source in sources):
            yield name_or_number


def _find_names(text: str) -> Iterator[str]:
    for match in _NAME.finditer(text):
        name = match[0]
        if _BEGIN.search(text[max(0, match.start() - 12) : match.start()]):
            first, _, tail = name.partition(" ")
            name = tail if first.casefold() in _OPENERS or not tail else name
        if name:
            yield name
