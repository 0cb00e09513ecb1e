"""What the checks look at: the rows, the task, and values that several checks need, computed once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from etude.base.files import parse_json
from etude.base.spool import Examples, Texts
from etude.base.wording import count
from etude.checks.evidence import covered, covered_label, hidden, shortened
from etude.checks.language.identification import language_of, own_language
from etude.checks.safety.sensitive import SensitiveRows, repeated, sensitive_rows
from etude.errors import Issue
from etude.index.documents import published_contacts
from etude.privacy import OwnContact, find
from etude.task import Task
from etude.text.near_duplicates import near_duplicate_clusters
from etude.text.normal_forms import normalise, with_signs
from etude.types import Column, Example, Excerpt, Finding, Severity

MOST_EVIDENCE = 20
"""Rows of a finding whose texts are kept with it."""
MOST_TEXT = 400
"""Characters of a row's text kept as evidence, around the first mark."""
MOST_MARKS = 20
"""Marks of a text, at most."""
Mark = tuple[int, int]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Material:
    """The rows of a task and what was read with them."""

    task: Task
    rows: Examples
    """The rows that can be read."""
    test: Examples | None = None
    """The test: the user's own file, or the sealed side of a split."""
    faults: tuple[Issue, ...] = ()
    """Errors of rows that could not be read or contradict the task."""
    test_faults: tuple[Issue, ...] = ()
    stand_ins: frozenset[str] = frozenset()
    """Surrogates that an earlier fix put into the rows; they are nobody's data."""
    systems: Mapping[str, str] = field(default_factory=dict)
    """Each system message of the rows, and where it first occurs."""

    @cached_property
    def inputs(self) -> Texts:
        """The inputs, each as one text."""
        return Texts(row.text for row in self.rows)

    @cached_property
    def outputs(self) -> Texts:
        """The answers wanted."""
        return Texts(row.output for row in self.rows)

    @cached_property
    def plain_inputs(self) -> Texts:
        """The normalised inputs."""
        return Texts(map(normalise, self.inputs))

    @cached_property
    def plain_outputs(self) -> Texts:
        """The normalised answers."""
        return Texts(map(normalise, self.outputs))

    @cached_property
    def input_languages(self) -> list[str | None]:
        """The language, or else the script, of each input; None if it is not identified."""
        return [*map(language_of, self.inputs)]

    @cached_property
    def output_languages(self) -> list[str | None]:
        """The same of the answers."""
        return [*map(language_of, self.outputs)]

    @cached_property
    def answers_language(self) -> str | None:
        """The language that nearly all answers are in; None where there is none."""
        return own_language(self.output_languages, self.outputs)

    @cached_property
    def inputs_language(self) -> str | None:
        """The same of the inputs."""
        return own_language(self.input_languages, self.inputs)

    def language_of_answer(self, row: int) -> str | None:
        """The language of the answer at this position; if it is not identified, that of nearly all answers."""
        return self.output_languages[row] or self.answers_language

    def may_be_english(self, row: int) -> bool:
        """Whether the answer of the row at this position may be in English."""
        return self.language_of_answer(row) in (None, "English")

    @property
    def written(self) -> Sequence[str]:
        """The answers, none if they are labels: one such as passcode_forgotten is nobody's data."""
        return [] if self.task.kind == "classify" else self.outputs

    @cached_property
    def input_hashes(self) -> Hashes:
        """Hashes of the inputs' `with_signs` forms: two inputs are the same if these are equal."""
        return hashed(map(with_signs, self.inputs))

    @cached_property
    def output_hashes(self) -> Hashes:
        """`answer_hashes` of the answers."""
        return self.answer_hashes(self.outputs)

    def answer_hashes(self, answers: Iterable[str]) -> Hashes:
        """Hashes of the `with_signs` forms of answers, from any file or column: two are the same if these are equal. In
        an extraction, JSON objects are also the same if only the order of their members differs."""
        compared = map(in_order, answers) if self.task.kind == "extract" else answers
        return hashed(map(with_signs, compared))

    @cached_property
    def near(self) -> list[tuple[int, ...]]:
        """Positions of rows whose inputs are near-duplicates, in groups of two or more."""
        return near_duplicate_clusters(self.inputs, alone=False)

    @cached_property
    def sensitive(self) -> tuple[SensitiveRows, SensitiveRows]:
        """Where personal data and secrets are in the inputs, and in the answers."""
        own = OwnContact(published_contacts(self.task.documents))
        return sensitive_rows(self.inputs, self.outputs, self.stand_ins, own, self.task.kind == "classify")

    @property
    def free(self) -> bool:
        """Whether answers are free text: no labels and no JSON."""
        return self.task.kind in ("answer", "rewrite")

    def finding(
        self,
        kind: str,
        severity: Severity,
        positions: Sequence[int],
        message: str,
        remedy: str,
        *,
        about: Sequence[str] = (),
        evidence: Iterable[Excerpt] = (),
        numbers: Mapping[str, float] | None = None,
        fix: str = "",
    ) -> Finding:
        """A finding about the rows at these positions; `numbers` are by default how many rows of how many."""
        rows = [self.rows[position] for position in positions]
        return Finding(
            kind=kind,
            severity=severity,
            rows=tuple(row.id for row in rows),
            message=message,
            remedy=remedy,
            locations=tuple(row.location for row in rows),
            subjects=tuple(about),
            excerpts=tuple(islice(evidence, MOST_EVIDENCE)),
            numbers=dict(numbers or {"rows": len(rows), "of": len(self.rows)}),
            fix=fix,
        )

    def shown_input(self, position: int, marks: Sequence[Mark] = ()) -> Excerpt:
        """The input of a row as evidence."""
        return excerpt(self.rows[position], "input", marks)

    def shown_output(self, position: int, marks: Sequence[Mark] = ()) -> Excerpt:
        """The answer of a row as evidence."""
        if self.task.kind == "classify":
            row = self.rows[position]
            return Excerpt(
                row.id, row.location, "output", covered_label(row.output[:MOST_TEXT]), tuple(marks)
            )
        return excerpt(self.rows[position], "output", marks)

    def both(self, positions: Iterable[int]) -> Iterable[Excerpt]:
        """Input and answer of each row as evidence."""
        for position in positions:
            yield self.shown_input(position)
            yield self.shown_output(position)


def excerpt(
    row: Example,
    part: Column,
    marks: Sequence[Mark] = (),
    doubtful: Sequence[Mark] = (),
    most: int = MOST_TEXT,
) -> Excerpt:
    """A text of a row, cut to `most` characters around its first mark; marks outside are dropped.

    Personal data and secrets are covered, also those that only the row's other text labels. Of `doubtful` marks only
    first letters are shown.
    """
    text, other = (row.text, row.output) if part == "input" else (row.output, row.text)
    known = [(span.start, span.end) for span in repeated(find(other, review=False), text)]
    begin = max(min(marks[0][0] - most // 4, len(text) - most), 0) if marks else 0
    end = min(begin + most, len(text))

    def within(marks: Sequence[Mark]) -> Iterator[Mark]:
        return ((max(low - begin, 0), max(high - begin, 0)) for low, high in marks)

    passage = shortened(hidden(covered(text, begin, end), within(known)), within(doubtful))
    kept = tuple((low - begin, min(high, end) - begin) for low, high in marks if begin <= low < end)
    cut = ("…" if begin else "") + passage + ("…" if end < len(text) else "")
    shift = 1 if begin else 0
    moved = tuple((low + shift, high + shift) for low, high in kept)
    return Excerpt(row.id, row.location, part, cut, moved)


def marks_of(matches: Iterable[re.Match[str]]) -> list[Mark]:
    """The places of the first MOST_MARKS matches."""
    return [match.span() for match in islice(matches, MOST_MARKS)]


def hashed(texts: Iterable[str]) -> Hashes:
    """64 bits of each text's BLAKE2b: a million texts hold two equal ones by chance once in 30 million times."""
    return np.fromiter(map(_hash, texts), np.uint64)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def in_order(text: str) -> str:
    """A JSON object or array with the members of its objects in the order of their names; another text as it is."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.dumps(parse_json(text), ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError):
        return text


def in_turn(*sides: Sequence[int]) -> Iterator[int]:
    """One of each side in turn, until one side is used up."""
    return chain.from_iterable(zip(*sides, strict=False))


def groups_of(keys: Hashes) -> list[list[int]]:
    """Positions that share a key, in groups of two or more, by their first member."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]) != 0)
    lengths = np.diff(starts, append=len(keys))
    several = np.flatnonzero(lengths > 1)
    return sorted(order[starts[run] : starts[run] + lengths[run]].tolist() for run in several.tolist())


def of_rows(number: int, total: int) -> str:
    """A number of rows and its share: "57 rows (5.2%)"."""
    share = 100 * number / max(total, 1)
    digits = "under 0.1%" if 0 < share < 0.1 else f"{share:.1f}%".replace(".0%", "%")
    return f"{count(number, 'row')} ({digits})"


def rows_that(verb: str, number: int, total: int) -> str:
    """`of_rows` before a verb, which is given in the plural: "1 row (0.1%) holds", "2 rows (0.2%) hold"."""
    single = {"have": "has", "are": "is"}.get(verb, f"{verb}s")
    return f"{of_rows(number, total)} {single if number == 1 else verb}"
