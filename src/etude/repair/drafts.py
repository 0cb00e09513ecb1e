"""Rows on their way to be put right, one at a time: what is done to a row by itself."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain

from etude.base.spool import Texts
from etude.data.dataset import Survey
from etude.errors import parse_location
from etude.privacy import Masker, Span, find
from etude.privacy.detect.phones import names_phones
from etude.privacy.mask.same_value import Values, is_word
from etude.privacy.spans import without_overlaps
from etude.repair.change_log import Change
from etude.repair.rewriting import Place, Record, records
from etude.repair.texts import has_markup
from etude.task import Task

LEFT_OUT = ("empty", "repeated_input")
"""Kinds of fault for which a row is left out."""
MOST_ROUNDS = 5
"""A text is gone over until nothing changes, so often at most."""
LAST = 16
"""Texts of which is remembered what was found in them: a row is looked at more than once."""
Meant = Callable[[str, Iterable[Span]], list[Span]]
"""The spans of a text that are to be masked."""
Mender = tuple[str, Callable[[str], str]]
"""A kind of finding, and what takes it out of a text."""


@lru_cache(LAST)
def found_in(text: str) -> tuple[Span, ...]:
    """What is personal or secret in a text; of the last texts it is known."""
    return find(text, review=False)


@dataclass
class Draft:
    """One row on its way."""

    row: str
    """Its id; "" where it is no example."""
    record: Record
    """As it stands in the file."""
    now: Record
    labelled: bool
    """Whether its answer is a label, which is not changed."""
    kinds: list[str] = field(default_factory=list)
    """What was put right, in this order."""
    out: bool = False
    """Whether it is left out."""
    fault: str = ""
    """Kind of the fault for which it is no example."""
    unwritten: bool = False
    """Whether something was to be put right in it that the file has no way to write."""

    @property
    def asked(self) -> str:
        """The input as one text."""
        return self._joined([self.now.text(place) for place in self.now.inputs])

    @property
    def taught(self) -> tuple[Place, ...]:
        """Where the texts are that may be changed."""
        return self.now.inputs if self.labelled else (*self.now.inputs, *self.now.answers)

    @property
    def has_markup(self) -> bool:
        """Whether one of them holds HTML outside of code."""
        return any(has_markup(self.now.text(place)) for place in self.taught)

    @property
    def change(self) -> Change:
        """What is done to the row."""
        record, after = self.record, None if self.out else self.now.raw.decode()
        kinds = tuple(dict.fromkeys(self.kinds))
        return Change(self.row, record.line, record.last, kinds, record.raw.decode(), after)

    def leave_out(self, kind: str) -> None:
        """Says that the row is left out, and why."""
        self.out = True
        self.kinds.append(kind)

    def relabel(self, label: str | None) -> None:
        """Gives the row another label, if there is one."""
        if label is None:
            return
        if not self.now.answers:
            self.unwritten = True
        elif self.now.text(self.now.answers[0]) != label:
            self._take({self.now.answers[0]: label}, ["wrong_label"])

    def mend(self, menders: Sequence[Mender]) -> None:
        """Mends each text until nothing changes; a text of which nothing would be left stays."""
        for place in self.taught:
            before = self.now.text(place)
            text, kinds = _mended(before, menders)
            if text != before:
                self._take({place: text}, kinds)

    def personal(self, meant: Meant) -> dict[Place, list[Span]]:
        """The spans that are meant, where they stand: the input is read as one text, every answer by itself, and what
        is not taught behind its name."""
        answers = self.taught[len(self.now.inputs) :]
        found: dict[Place, list[Span]] = {}
        for places in (self.now.inputs, *((place,) for place in answers)):
            texts = [self.now.text(place) for place in places]
            joined = self._joined(texts)
            spans = meant(joined, found_in(joined))
            found |= self._parted(dict(zip(places, texts, strict=True)), spans)
        for place in self.now.others:
            text = self.now.text(place)
            spans = meant(text, _beside_name(place, text))
            if spans:
                found[place] = spans
        return found

    def mask(self, meant: Meant, values: Values, masker: Masker, look: bool = True) -> None:
        """Masks `values`, and with `look` what is found in the row, wherever it stands in the row: the answer
        repeats what only the input has a label for."""
        for _ in range(MOST_ROUNDS if look or values else 0):
            before = self.now
            found = self.personal(meant) if look else {}
            own = Values()
            for span in chain.from_iterable(found.values()):
                if not is_word(span.kind, span.text):
                    own.add(span.kind, span.text)
            self._mask_once(found, [own, values], meant, masker)
            if self.now is before:
                break

    def _mask_once(
        self,
        found: Mapping[Place, list[Span]],
        known: Sequence[Values],
        meant: Meant,
        masker: Masker,
    ) -> None:
        masked, kinds = {}, []
        for place in (*self.taught, *self.now.others):
            text = self.now.text(place)
            again = meant(text, (span for values in known if values for span in values.spans(text)))
            spans = without_overlaps([*found.get(place, ()), *again])
            if spans:
                masked[place] = masker.mask(text, spans)
                kinds += [f"privacy_{span.kind}" for span in spans]
        if masked:
            self._take(masked, kinds)

    def _parted(self, texts: Mapping[Place, str], spans: Sequence[Span]) -> dict[Place, list[Span]]:
        """Spans of texts that were read as one, by the text in which each lies."""
        parted: dict[Place, list[Span]] = {}
        start = 0
        for place, text in texts.items():
            end = start + len(text)
            own = [span for span in spans if start <= span.start and span.end <= end]
            if own:
                parted[place] = [
                    replace(span, start=span.start - start, end=span.end - start) for span in own
                ]
            start = end + len(self.now.joint)
        return parted

    def _joined(self, texts: Iterable[str]) -> str:
        return self.now.joint.join(texts)

    def _take(self, texts: Mapping[Place, str], kinds: Iterable[str]) -> None:
        """Puts texts into the row, where it can be written with them."""
        written = self.now.with_texts(texts)
        if written is None:
            self.unwritten = True
        elif written.cells != self.now.cells:
            self.now = written
            self.kinds += kinds


def _mended(text: str, menders: Sequence[Mender]) -> tuple[str, list[str]]:
    """The text when nothing changes any more, and the kinds of what was done."""
    kinds: list[str] = []
    for _ in range(MOST_ROUNDS):
        start = text
        for kind, mend in menders:
            mended = mend(text)
            if mended != text and mended.strip():
                text = mended
                kinds.append(kind)
        if text == start:
            break
    return text, kinds


def _beside_name(place: Place, text: str) -> list[Span]:
    """What is found in a value that is not taught; the name of its column is its label, but that of an id, which
    numbers the rows."""
    name = next((part for part in reversed(place) if isinstance(part, str)), "")
    words = re.sub("(?<=[a-z])(?=[A-Z])|[_-]+", " ", name)
    label = "" if re.search(r"(?i)\bids?$", words) else f"{words}: "
    start = len(label)
    spans = [
        replace(span, start=span.start - start, end=span.end - start)
        for span in found_in(label + text.removesuffix(".0"))
        if span.start >= start
    ]
    doubtful = [span for span in spans if span.kind == "phone" and span.rule == "label"]
    if not doubtful or names_phones(words):
        return spans
    alone = found_in(text)  # 1732579200 is no phone number for standing in registered_at
    return [span for span in spans if span not in doubtful or span in alone]


class Drafts:
    """Drafts of a task's rows, made anew each time they are gone over: the examples, and the rows that are empty or
    copies with their id.

    In memory: eight bytes a row.
    """

    def __init__(self, task: Task, survey: Survey) -> None:
        self._source, self._kind = task.examples, task.kind
        self._lines, self._ids = array("Q"), Texts()
        for row in survey.rows:
            self._lines.append(parse_location(row.location)[1])
            self._ids.append(row.id)
        left_out = (fault for fault in survey.faults if fault.kind in LEFT_OUT)
        self._faults = {parse_location(fault.location)[1]: fault.kind for fault in left_out}
        for line in self._lines if self._faults else ():
            self._faults.pop(line, None)

    def __iter__(self) -> Iterator[Draft]:
        examples = zip(self._lines, self._ids, strict=True)
        end = (0, "")
        line, row = next(examples, end)
        for record in records(self._source, self._kind):
            while 0 < line < record.line:  # an example that can no more be read
                line, row = next(examples, end)
            if line == record.line:
                yield self._draft(row, record)
            elif record.line in self._faults:
                yield self._draft("", record, self._faults[record.line])

    def _draft(self, row: str, record: Record, fault: str = "") -> Draft:
        return Draft(row, record, record, self._kind == "classify", fault=fault)
