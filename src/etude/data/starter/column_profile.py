"""What the name and the values of a column suggest: a text, labels, dates, ids, people or
groups.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from operator import lt
from typing import Self

from etude.data.formats import columns
from etude.data.formats.columns import RawCells
from etude.data.formats.turns import is_chat, parse_turns
from etude.data.starter.label_forms import SCORE_NAMES, is_binary
from etude.privacy.names.people import find_capitalised

_GROUPS = frozenset(columns.read_names("groups"))
_IDS = frozenset(columns.read_names("ids"))
_ASKERS = frozenset(columns.read_names("askers"))
_ANSWERERS = frozenset(columns.read_names("answerers"))
_PEOPLE = (
    _GROUPS | _ASKERS | _ANSWERERS | _IDS | frozenset(columns.read_names("people", "of_people"))
)
_JUDGEMENTS = frozenset(
    columns.read_names("outputs", "output_nouns", "other_outputs", "judgements")
)
_TITLES = frozenset(columns.read_names("titles"))
_ID_VALUE = re.compile(r"[A-Za-z]{1,8}[-_#/]?\d{2,}|[\da-fA-F-]{32,36}|\S+@\S+\.\w+|https?://\S+")
_TIME = r"[T ,]*(\d{1,2}:\d{2}\S*( ?[AaPp]\.?[Mm]\.?)?( ?[A-Z]{3,4})?)?"
_MONTH = r"[^\W\d]{3,10}"
# Dates in digits, years, seconds since 1970, and dates with the name of a month, each with or
# without a time.
_DATE = re.compile(
    r"(\d{1,4}([./-])\d{1,2}\2\d{1,4}\.?|(19|20)\d\d([./-]\d{1,2})?|1\d{9}(\d{3})?(\.\d+)?"
    rf"|([^\W\d]+[.,]* )?(\d+(st|nd|rd|th|\.)?[ /-]{_MONTH}|{_MONTH} \d+)[.,]*[ /-](\d\d)?\d\d)"
    rf"{_TIME}"
)
_SPLIT_NAME = re.compile(r"(.*[ _-])?(split|fold|subset|partition)", re.IGNORECASE)
_ID_NAMES = {"id", "uuid", "guid", "key", "row_id", "example_id"}
_MIN_SHARE = (
    0.9  # share of the values that must be dates or ids, and of the rows that must have a value
)
_MAX_WORDS = 4  # of a label, on average
_MAX_SPEAKERS = 6  # different values of a column that says who wrote a message
_MAX_NAMES = 50  # different values that are searched for names of people
MIN_GROUPS = 20  # with fewer groups the split has too few clusters to choose from


@dataclass(frozen=True)
class ColumnProfile:
    """The name of a column and its non-empty values as texts, with properties that suggest a
    role.
    """

    name: str
    values: tuple[str, ...]
    num_rows: int
    num_objects: int = 0
    """Values that are lists or objects; those of chats are not counted."""

    @classmethod
    def of(cls, name: str, cells: RawCells) -> Self:
        """The profile of a column of some rows."""
        values = [row.get(name) for row in cells]
        chats = [is_chat(parse_turns(value)) for value in values]
        objects = [
            json.dumps(value, ensure_ascii=False)
            for value, is_turns in zip(values, chats, strict=True)
            if isinstance(value, list | dict) and not is_turns
        ]
        texts = [str(value).strip() for value in values if isinstance(value, str | int | float)]
        return cls(name, (*filter(None, texts), *objects), len(cells), len(objects))

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.values)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the name: `Cust-ID`, `custId` and `custid` are cust and id."""
        words: list[str] = []
        for word in columns.split_words(self.name).split():
            stem = word.removesuffix("id")
            words += (stem, "id") if stem != word and stem in _GROUPS else (word,)
        return tuple(words)

    @cached_property
    def mean_words(self) -> float:
        return sum(len(value.split()) for value in self.values) / max(len(self.values), 1)

    @property
    def is_full(self) -> bool:
        """Whether nearly all rows have a value."""
        return bool(self.values) and len(self.values) >= _MIN_SHARE * self.num_rows

    @property
    def is_structured(self) -> bool:
        """Whether nearly all values are lists or objects, such as lists of labels."""
        return self.is_full and self.num_objects >= _MIN_SHARE * self.num_rows

    @cached_property
    def is_text(self) -> bool:
        """Whether nearly all rows have a text of several words, too long or too varied for a
        label.
        """
        is_no_label = self.mean_words > _MAX_WORDS or len(self.counts) > 0.3 * len(self.values)
        is_long = self.is_full and self.mean_words >= 3
        return is_long and is_no_label and not (self.num_objects or self.has_ids_or_dates)

    @property
    def is_row_number(self) -> bool:
        """Whether the values are increasing whole numbers."""
        numbers = [int(value) for value in self.values if value.isascii() and value.isdecimal()]
        return 0 < len(numbers) == len(self.values) and all(map(lt, numbers, numbers[1:]))

    @property
    def has_group_name(self) -> bool:
        """Whether the name means only a person or a thread: `customer`, not `customer age`."""
        return not _GROUPS.isdisjoint(self.words) and _PEOPLE.issuperset(self.words)

    @cached_property
    def has_ids_or_dates(self) -> bool:
        """Whether the values are row numbers, ids, addresses or dates."""
        return self.is_row_number or self._have_form(_ID_VALUE) or self._have_form(_DATE)

    @cached_property
    def is_never_output(self) -> bool:
        """Whether the values are dates, ids, row numbers, sides of a split, or people and threads,
        unless the name is usual for the output.
        """
        if self.is_text or self.num_objects or not self.values or columns.is_output_name(self.name):
            return False
        is_person = _PEOPLE.issuperset(self.words) and not is_binary(self.counts)
        has_id_name = bool(_IDS.intersection(self.words[-1:])) and _JUDGEMENTS.isdisjoint(
            self.words
        )
        is_split = bool(_SPLIT_NAME.fullmatch(self.name))
        return is_person or has_id_name or is_split or self.has_ids_or_dates

    @property
    def is_title(self) -> bool:
        return self.is_text and not _TITLES.isdisjoint(self.words)

    @cached_property
    def has_names(self) -> bool:
        values = list(self.counts)[:_MAX_NAMES]
        return sum(any(find_capitalised(value)) for value in values) > 0.8 * len(values)

    @cached_property
    def is_label(self) -> bool:
        """Whether nearly all rows have a short value that repeats."""
        repeats = 2 <= len(self.counts) <= len(self.values) / 4
        return (
            repeats and not self.is_never_output and self.mean_words <= _MAX_WORDS and self.is_full
        )

    @property
    def is_group(self) -> bool:
        """Whether values repeat and mean people or threads, whose rows are kept on one side of a
        split.
        """
        repeats = MIN_GROUPS <= len(self.counts) < len(self.values)
        largest_share = max(self.counts.values(), default=0) / self.num_rows
        return (
            repeats
            and self.has_group_name
            and self.mean_words <= _MAX_WORDS
            and largest_share <= 0.1
        )

    @property
    def is_tag(self) -> bool:
        """Whether the values are a few repeated labels, by which results can be broken down."""
        return self.is_label and len(self.counts) <= 20

    @property
    def has_answer_form(self) -> bool:
        """Whether name or values are those of an answer: a usual name, that of a score, or yes and
        no.
        """
        has_name = not _JUDGEMENTS.isdisjoint(self.words) or bool(SCORE_NAMES.search(self.name))
        return has_name or is_binary(self.counts)

    @property
    def is_id(self) -> bool:
        """Whether the name means an id and no value repeats."""
        return (
            self.name.casefold() in _ID_NAMES
            and len(self.counts) == len(self.values) == self.num_rows
        )

    @property
    def is_speaker(self) -> bool:
        """Whether the values say which of two sides wrote a message: customer and agent."""
        if len(self.counts) > _MAX_SPEAKERS:
            return False
        sides = [{*columns.split_words(value).split()} for value in self.counts]
        return all(any(words & side for words in sides) for side in (_ASKERS, _ANSWERERS))

    def describe(self) -> str:
        """The column in a list of choices: `Team (3 values: Billing, Other, Returns)`."""
        if not self.is_label:
            kind = (
                "lists or objects" if self.is_structured else "texts" if self.is_text else "values"
            )
            return f"{self.name} ({kind}, such as {next(iter(self.values), '')[:40]!r})"
        labels = sorted(self.counts)
        more = ", ..." if len(labels) > 3 else ""
        return f"{self.name} ({len(labels):,} values: {', '.join(labels[:3])}{more})"

    def _have_form(self, pattern: re.Pattern[str]) -> bool:
        num_matches = sum(
            number for value, number in self.counts.items() if pattern.fullmatch(value)
        )
        return bool(self.values) and num_matches >= _MIN_SHARE * len(self.values)
