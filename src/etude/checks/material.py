"""The input of the checks: the rows, the task, and values that several checks need, computed
once.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, repeat
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from etude.base.disk_texts import DiskTexts
from etude.base.files import parse_json
from etude.base.formatting import format_count
from etude.base.progress import report_progress
from etude.checks.excerpts import MAX_TEXT, CharSpan, build_excerpt, redact_label
from etude.checks.language.identification import (
    find_main_language,
    guess_language,
    identify_language,
)
from etude.checks.safety.sensitive import SensitiveRows, collect_personal_data, find_row_spans
from etude.cluster import THIS_PROCESS, Workers
from etude.data.spool import Examples, Spool
from etude.errors import Issue
from etude.index.documents import find_published_contacts
from etude.privacy import OwnContact
from etude.task import Task
from etude.task.questions import select_question
from etude.text.near_duplicates import cluster_near_duplicates
from etude.text.normal_forms import normalise, to_canonical
from etude.types import Excerpt, Finding, Severity

MAX_EXCERPTS = 20  # excerpts of a finding
SHARD_ROWS = 4096  # rows that a worker gets at once
Value = TypeVar("Value")
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Material:
    """The rows of a task, and the issues and system messages read with them. Methods take the
    position of a row.
    """

    task: Task
    rows: Examples
    """The rows that can be read."""
    test: Examples | None = None
    """The test: the user's own file, or the sealed side of a split."""
    issues: tuple[Issue, ...] = ()
    """Errors of rows that could not be read or contradict the task."""
    test_issues: tuple[Issue, ...] = ()
    surrogates: frozenset[str] = frozenset()
    """Values that an earlier fix put into the rows; they are not personal data."""
    system_messages: Mapping[str, str] = field(default_factory=dict)
    """Each system message of the rows, with the location where it first occurs."""
    workers: Workers = THIS_PROCESS
    """They do what is computed row by row."""

    def map_rows(self, function: Callable[..., Value], *columns: Iterable[Any]) -> Iterator[Value]:
        """Yield the function's value for each row of the columns, in order; the workers compute
        them in shards.
        """
        rows = zip(*columns, strict=True)
        shards = iter(lambda: [*islice(rows, SHARD_ROWS)], [])
        for number, values in enumerate(self.workers.map(_map_shard, shards, function)):
            report_progress(number * SHARD_ROWS, len(self.rows))
            yield from values

    @cached_property
    def by_question(self) -> "dict[str, Material]":
        """The rows as if they had only one question each, by its name."""
        selections = {}
        for name, task in self.task.split_questions().items():
            rows = Spool()
            for row in self.rows:
                rows.append(select_question(row, name))
            selections[name] = replace(self, task=task, rows=rows, test=None)
        return selections

    @cached_property
    def _columns(self) -> tuple[DiskTexts, DiskTexts, bytearray]:
        """The inputs, the answers, and whether each row has its own system message, from one pass
        over the rows.
        """
        inputs = DiskTexts()
        outputs = DiskTexts()
        has_system = bytearray()
        for row in self.rows:
            inputs.append(row.text)
            outputs.append(row.output)
            has_system.append(row.input[0].role == "system")
        return inputs, outputs, has_system

    @property
    def inputs(self) -> DiskTexts:
        return self._columns[0]

    @property
    def outputs(self) -> DiskTexts:
        return self._columns[1]

    @cached_property
    def canonical_inputs(self) -> DiskTexts:
        return DiskTexts(self.map_rows(to_canonical, self.inputs))

    @cached_property
    def plain_inputs(self) -> DiskTexts:
        return DiskTexts(map(normalise, self.inputs))

    @cached_property
    def plain_outputs(self) -> DiskTexts:
        return DiskTexts(map(normalise, self.outputs))

    @cached_property
    def input_languages(self) -> "TextLanguages":
        return TextLanguages(self.inputs, self.map_rows)

    @cached_property
    def output_languages(self) -> "TextLanguages":
        return TextLanguages(self.outputs, self.map_rows)

    def answer_language(self, row: int) -> str | None:
        """The language of a row's answer; if it is not identified, the language of nearly all
        answers.
        """
        return self.output_languages.identified[row] or self.output_languages.main

    def list_labels(self, row: int) -> tuple[str, ...]:
        """The labels of a row of a classification."""
        return self.task.list_labels(self.outputs[row])

    @cached_property
    def label_rows(self) -> list[tuple[str, int]]:
        """Every label of every row with the position of the row."""
        return [(label, row) for row in range(len(self.rows)) for label in self.list_labels(row)]

    @cached_property
    def input_hashes(self) -> Hashes:
        """Hashes of the inputs' canonical forms: two inputs are the same if their hashes are equal.
        A row's own system message is part of its input.
        """
        forms = zip(self.canonical_inputs, self._columns[2], strict=True)
        return hash_texts(
            to_canonical(f"{self.rows[row].input[0].content}\n{self.inputs[row]}")
            if has_system
            else form
            for row, (form, has_system) in enumerate(forms)
        )

    @cached_property
    def output_hashes(self) -> Hashes:
        """The `hash_answers` of the answers."""
        return self.hash_answers(self.outputs)

    def hash_answers(self, answers: Iterable[str]) -> Hashes:
        """Hash the canonical forms of answers from any file or column: equal answers have equal
        hashes.

        In an extraction, JSON answers are compared without regard to key order.
        """
        texts = map(sort_json_keys, answers) if self.task.kind == "extract" else answers
        return np.fromiter(self.map_rows(hash_canonical, texts), np.uint64)

    @cached_property
    def near_duplicates(self) -> list[tuple[int, ...]]:
        return cluster_near_duplicates(self.canonical_inputs, alone=False, are_canonical=True)

    @cached_property
    def personal_data(self) -> tuple[SensitiveRows, SensitiveRows]:
        """Where personal data and secrets are in the inputs, and in the answers."""
        own = OwnContact(find_published_contacts(self.task.documents))
        is_labels = self.task.kind == "classify"
        spans = self.map_rows(
            find_row_spans, self.inputs, self.outputs, repeat(is_labels, len(self.rows))
        )
        return collect_personal_data(self.outputs, spans, self.surrogates, own, is_labels)

    @property
    def is_free_text(self) -> bool:
        return self.task.kind in ("answer", "rewrite")

    def finding(
        self,
        kind: str,
        severity: Severity,
        positions: Sequence[int],
        message: str,
        remedy: str,
        *,
        subjects: Sequence[str] = (),
        excerpts: Iterable[Excerpt] = (),
        numbers: Mapping[str, float] | None = None,
        fix: str = "",
    ) -> Finding:
        """Build a finding about the rows at these positions. By default, `numbers` has the rows
        found and all rows.
        """
        rows = [self.rows[position] for position in positions]
        return Finding(
            kind=kind,
            severity=severity,
            rows=tuple(row.id for row in rows),
            message=message,
            remedy=remedy,
            locations=tuple(row.location for row in rows),
            subjects=tuple(subjects),
            excerpts=tuple(islice(excerpts, MAX_EXCERPTS)),
            numbers=dict(numbers or {"rows": len(rows), "of": len(self.rows)}),
            fix=fix,
        )

    def show_input(self, row: int, spans: Sequence[CharSpan] = ()) -> Excerpt:
        """Build an excerpt of a row's input."""
        return build_excerpt(self.rows[row], "input", spans)

    def show_output(self, row: int, spans: Sequence[CharSpan] = ()) -> Excerpt:
        """Build an excerpt of a row's answer."""
        example = self.rows[row]
        if self.task.kind == "classify":
            label = redact_label(example.output[:MAX_TEXT])
            return Excerpt(example.id, example.location, "output", label, tuple(spans))
        return build_excerpt(example, "output", spans)

    def show_rows(self, rows: Iterable[int]) -> Iterator[Excerpt]:
        """Yield an excerpt of the input and one of the answer of each row."""
        for row in rows:
            yield self.show_input(row)
            yield self.show_output(row)


class TextLanguages:
    """The languages of a column of texts; None for a text whose language is not known."""

    def __init__(self, texts: Sequence[str], map_rows: Callable[..., Iterator[str | None]]) -> None:
        self._texts = texts
        self._map_rows = map_rows

    @cached_property
    def identified(self) -> list[str | None]:
        """The language of each text."""
        return [*self._map_rows(identify_language, self._texts)]

    @cached_property
    def guessed(self) -> list[str | None]:
        """The language of each text, guessed if the text is too short to identify it."""
        return [*self._map_rows(guess_language, self._texts, self.identified)]

    @cached_property
    def main(self) -> str | None:
        """The language of nearly all texts; None if there is no such language."""
        return find_main_language(self.identified) or find_main_language(self.guessed)


def _map_shard(rows: Sequence[tuple[Any, ...]], function: Callable[..., Value]) -> list[Value]:
    return [function(*row) for row in rows]


def hash_text(text: str) -> int:
    """Hash a text to 64 bits of BLAKE2b: the chance that two of a million texts collide is one in
    30 million.
    """
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    )


def hash_canonical(text: str) -> int:
    """Hash the canonical form of a text."""
    return hash_text(to_canonical(text))


def hash_texts(texts: Iterable[str]) -> Hashes:
    """Hash each text."""
    return np.fromiter(map(hash_text, texts), np.uint64)


def sort_json_keys(text: str) -> str:
    """Sort the keys of every object in a JSON object or array; other texts are returned
    unchanged.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.dumps(parse_json(text), ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError):
        return text


def group_equal(keys: Hashes) -> list[list[int]]:
    """Group the positions that share a key: groups of two or more, ordered by their first
    member.
    """
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]) != 0)
    lengths = np.diff(starts, append=len(keys))
    runs = np.flatnonzero(lengths > 1).tolist()
    return sorted(order[starts[run] : starts[run] + lengths[run]].tolist() for run in runs)


def format_share(number: int, total: int) -> str:
    """Format a number of rows and its share: "57 rows (5.2%)"."""
    share = 100 * number / max(total, 1)
    percent = "under 0.1%" if 0 < share < 0.1 else f"{share:.1f}%".replace(".0%", "%")
    return f"{format_count(number, 'row')} ({percent})"


def format_rows(verb: str, number: int, total: int) -> str:
    """Format a share of rows with a verb in the plural: "1 row (0.1%) contains", "2 rows (0.2%)
    contain".
    """
    singular = {"have": "has", "are": "is"}.get(verb, f"{verb}s")
    return f"{format_share(number, total)} {singular if number == 1 else verb}"
