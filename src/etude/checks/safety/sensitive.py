"""The rows with personal data of the kinds whose rules are rarely wrong, searched once for all
checks.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from etude.privacy import OwnContact, Span, find, find_by_format, own_contact
from etude.privacy.mask.known_values import KnownValues, is_word_password

# Maximum number of rows that are searched for the kinds of REVIEW, which takes three times as long.
# More rows are sampled evenly.
MAX_REVIEWED = 20_000


class SensitiveRows:
    """The rows with each kind of personal data, in one column.

    Whether contact data is the organisation's own can be decided only after all answers have been
    read. Spans are stored for one row in `step`.
    """

    def __init__(self, own: OwnContact, surrogates: Collection[str], step: int) -> None:
        self._own = own
        self._surrogates = surrogates
        self._step = step
        self._rows: defaultdict[str, set[int]] = defaultdict(set)
        self._contacts: list[tuple[int, Span]] = []
        self._spans: dict[int, tuple[Span, ...]] = {}

    def add(self, row: int, spans: tuple[Span, ...]) -> None:
        """Add the spans in a row."""
        if spans and row % self._step == 0:
            self._spans[row] = spans
        for span in spans:
            if span.text in self._surrogates:
                continue
            if span.kind in own_contact.CONTACT_KINDS:
                self._contacts.append((row, span))
            else:
                self._rows[span.kind].add(row)

    def rows_of_kind(self, kind: str) -> set[int]:
        """Return the rows with personal data of a kind, without the organisation's own contact
        data.
        """
        contacts = {
            row for row, span in self._contacts if span.kind == kind and not self._own.is_own(span)
        }
        return self._rows[kind] | contacts

    def own_contacts(self) -> dict[Span, set[int]]:
        """Map contact data of the organisation to its rows; each value has the spelling of its
        first row.
        """
        first: dict[tuple[str, str], Span] = {}
        rows: defaultdict[Span, set[int]] = defaultdict(set)
        for row, span in self._contacts:
            if self._own.is_own(span):
                rows[first.setdefault(own_contact.contact_key(span), span)].add(row)
        return dict(rows)

    def kept_spans(self, row: int) -> tuple[Span, ...]:
        """Return all spans of a row, surrogates included; empty for rows whose spans are not
        stored.
        """
        return self._spans.get(row, ())

    def personal_spans(self, row: int, kind: str) -> list[tuple[int, int]]:
        """List where personal data of a kind is in a row whose spans are stored."""
        spans = {
            (span.start, span.end)
            for span in self.kept_spans(row)
            if span.kind == kind
            and span.text not in self._surrogates
            and not self._own.is_own(span)
        }
        return sorted(spans)


def find_row_spans(
    source: str, answer: str, is_labels: bool
) -> tuple[tuple[Span, ...], tuple[Span, ...], int]:
    """Find personal data in the input and in the answer of a row, and count the answer's own, which
    come first.

    A value that has a label ("password: ...") in only one text of a row is also found in the other
    text. If answers are labels, they are searched only for data that is recognised by its format.
    """
    source_spans = tuple(find(source, review=False))
    spans = _find_in_label(answer) if is_labels else tuple(find(answer, review=False))
    repeated = () if is_labels else find_repeated(source_spans, answer)
    return (*source_spans, *find_repeated(spans, source)), (*spans, *repeated), len(spans)


@lru_cache
def _find_in_label(label: str) -> tuple[Span, ...]:
    return tuple(find_by_format(label))


def collect_personal_data(
    answers: Sequence[str],
    row_spans: Iterable[tuple[tuple[Span, ...], tuple[Span, ...], int]],
    surrogates: Collection[str],
    own: OwnContact,
    is_labels: bool = False,
) -> tuple[SensitiveRows, SensitiveRows]:
    """Collect the `find_row_spans` of all rows, in the inputs and in the answers. `own` learns the
    organisation's contact data from the answers.
    """
    step = choose_review_step(len(answers))
    in_inputs = SensitiveRows(own, surrogates, step)
    in_answers = SensitiveRows(own, surrogates, step)
    for row, (answer, (source_spans, spans, num_own)) in enumerate(
        zip(answers, row_spans, strict=True)
    ):
        if not is_labels:
            own.add_answer(answer, spans[:num_own])
        in_inputs.add(row, source_spans)
        in_answers.add(row, spans)
    return in_inputs, in_answers


def choose_review_step(num_rows: int) -> int:
    """Choose the step of the even sample that is searched for the kinds of REVIEW."""
    return max(-(-num_rows // MAX_REVIEWED), 1)


def find_repeated(spans: Collection[Span], text: str) -> Iterator[Span]:
    """Find the values of another text's spans in a text."""
    if spans:
        values = KnownValues()
        for span in spans:
            if not is_word_password(span.kind, span.text):
                values.add(span.kind, span.text)
        yield from values.find_spans(text)
