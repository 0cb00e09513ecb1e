"""The roles of columns, guessed from their names first, then from their values."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import lt
from pathlib import Path
from typing import Literal, Self

from etude.data.formats import columns, turns
from etude.data.formats.columns import RawCells
from etude.data.starter.label_forms import SCORE_NAMES, is_binary
from etude.errors import InputError
from etude.task import RowSource
from etude.types import TaskQuestion

TextSide = Literal["input", "output"]
_GROUP_WORDS, _ID_WORDS = frozenset(columns.read_names("groups")), frozenset(columns.read_names("ids"))
_ASKERS, _ANSWERERS = frozenset(columns.read_names("askers")), frozenset(columns.read_names("answerers"))
_INPUT_NOUNS, _OUTPUT_NOUNS = (
    columns.read_names("input_nouns", "talk_nouns"),
    columns.read_names("output_nouns"),
)
_JUDGEMENTS = frozenset(columns.read_names("outputs", "output_nouns", "other_outputs", "judgements"))
_TEXT_NOUNS, _PLURALS = columns.read_names("text_nouns"), columns.NAME_LISTS["plurals"]
_MIN_COMPOUND = 5  # letters of a noun that may end a longer word: Kundenfrage, supportantwoord
_ID_VALUE = re.compile(r"[A-Za-z]{1,8}[-_#/]?\d{2,}|[\da-fA-F-]{32,36}|\S+@\S+\.\w+")
_ID_NAMES = {"id", "uuid", "guid", "key", "row_id", "example_id"}
_SPLIT_NAME = re.compile(r"(.*[ _-])?(split|fold|subset|partition)", re.IGNORECASE)
_BY_NAME = "the names of the columns"
_BY_WORDS = "the words in the names of the columns. Swap them if wrong"
_BY_QUESTIONS = "their content: the column with questions is the input. Swap them if wrong"
_BY_ORDER = "their order in the file. Swap them if wrong"
_SIDE_ORDER = ("input", None, "output")  # the side that a name states; the likeliest input first
# Different values as a share of the rows above which ids count as ids of rows (with some copies), not of groups.
_MAX_ID_SHARE = 0.9
_MIN_GROUPS = 20  # with fewer groups the split has too few clusters to choose from
# Cohen's kappa of labels predicted from held-out texts, minus two standard errors, from which on texts say something
# about a column; and the texts that are read for it.
_MIN_KAPPA, _MAX_TEXTS = 0.1, 1_000


@dataclass(frozen=True)
class ColumnRoles:
    """The guessed columns, and for each role the reason of the guess."""

    source: RowSource
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class _ColumnProfile:
    """The name of a column and its non-empty values as texts, with properties that suggest a role."""

    name: str
    values: tuple[str, ...]
    num_rows: int
    """Rows of the file."""

    @classmethod
    def of(cls, name: str, cells: RawCells) -> Self:
        """The profile of a column of some rows."""
        values = (row.get(name) for row in cells)
        texts = (str(value).strip() for value in values if isinstance(value, str | int | float))
        return cls(name, tuple(filter(None, texts)), len(cells))

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.values)

    @cached_property
    def mean_words(self) -> float:
        return sum(len(value.split()) for value in self.values) / max(len(self.values), 1)

    @cached_property
    def side(self) -> TextSide | None:
        """The side of the row that the name states."""
        return parse_side(self.name)[0]

    @property
    def has_side_noun(self) -> bool:
        """Whether the name states the side by a noun, such as question or reply, not by the author."""
        return parse_side(self.name)[1]

    @property
    def is_full(self) -> bool:
        return len(self.values) >= 0.9 * self.num_rows

    @property
    def is_text(self) -> bool:
        """Whether nearly all rows have a text of several words, mostly different ones unless the name states a side."""
        is_varied = self.side is not None or len(self.counts) > 0.3 * len(self.values)
        return self.is_full and self.mean_words >= 3 and is_varied

    @property
    def has_value_as_name(self) -> bool:
        """Whether the name looks like a value. Then the file has no header, and nothing is guessed."""
        return len(self.name.split()) > 4 or self.name in self.counts

    @property
    def has_questions(self) -> bool:
        """Whether half of the values end with a question mark."""
        return sum(value[-1] in "?？؟" for value in self.values) >= 0.5 * len(self.values)

    @property
    def is_row_number(self) -> bool:
        """Whether the values are increasing whole numbers."""
        numbers = [int(value) for value in self.values if value.isascii() and value.isdecimal()]
        return 0 < len(numbers) == len(self.values) and all(map(lt, numbers, numbers[1:]))

    @property
    def is_label(self) -> bool:
        """Whether nearly all rows have a short value that repeats."""
        repeats = 2 <= len(self.counts) <= len(self.values) / 4
        is_excluded = _SPLIT_NAME.fullmatch(self.name) or (self.has_group_name and not is_binary(self.counts))
        return repeats and not is_excluded and self.mean_words <= 4 and self.is_full

    @property
    def has_group_name(self) -> bool:
        """Whether the name means only a person or a thread: `customer`, not `customer age`."""
        words = set(_split_name(self.name))
        return bool(words & _GROUP_WORDS) and words <= _GROUP_WORDS | _ID_WORDS

    @cached_property
    def has_ids(self) -> bool:
        """Whether the last word of the name, or nine in ten values, look like ids."""
        is_id_name = bool(_ID_WORDS.intersection(_split_name(self.name)[-1:]))
        num_ids = sum(bool(_ID_VALUE.fullmatch(value)) for value in self.values)
        return is_id_name or num_ids >= 0.9 * len(self.values)

    @property
    def may_be_group(self) -> bool:
        """Whether values repeat and look like groups, whose rows can be kept on one side of a split."""
        repeats = _MIN_GROUPS <= len(self.counts) < len(self.values)
        has_group_ids = self.has_ids and len(self.counts) <= _MAX_ID_SHARE * len(self.values)
        return repeats and (self.has_group_name or has_group_ids) and not self.is_text

    @property
    def is_group(self) -> bool:
        """Whether the column is certain enough to be set as the group."""
        largest_share = max(self.counts.values(), default=0) / self.num_rows
        return self.may_be_group and self.has_group_name and self.mean_words <= 4 and largest_share <= 0.1

    @property
    def is_tag(self) -> bool:
        """Whether the values are a few repeated labels, by which results can be broken down."""
        return self.is_label and len(self.counts) <= 20

    @property
    def is_filled_tag(self) -> bool:
        """Whether every row has one of a few repeated labels."""
        return self.is_tag and len(self.values) == self.num_rows

    @property
    def has_answer_form(self) -> bool:
        """Whether name or values are those of an answer: a usual name, that of a score, or yes and no."""
        has_name = not _JUDGEMENTS.isdisjoint(_split_name(self.name)) or bool(SCORE_NAMES.search(self.name))
        return (has_name or is_binary(self.counts)) and not self.has_ids

    @property
    def is_id(self) -> bool:
        """Whether the name means an id and no value repeats."""
        return self.name.casefold() in _ID_NAMES and len(self.counts) == len(self.values) == self.num_rows


def parse_side(name: str) -> tuple[TextSide | None, bool]:
    """The side that the name of a column of texts states, and whether it does so by a noun; None for no or both sides.

    Nouns come before people: `agent question` is an input, and `reply to customer` is an output.
    """
    words = [_PLURALS.get(word, word) for word in columns.split_words(name).split()]
    has_nouns = _has_noun(words, _INPUT_NOUNS), _has_noun(words, _OUTPUT_NOUNS)
    has_people = not _ASKERS.isdisjoint(words), not _ANSWERERS.isdisjoint(words)
    for is_input, is_output in (has_nouns, has_people, (_has_noun(words, _TEXT_NOUNS), False)):
        if is_input != is_output:
            return "input" if is_input else "output", True in has_nouns
        if is_input:
            break
    return None, False


def guess_roles(path: Path, cells: RawCells) -> ColumnRoles:
    """The columns, and the reason for each role. Raises InputError if the input or the output is unknown."""
    names = columns.list_names(cells)
    rejected = columns.find_preference_columns(names)[1:]
    profiles = {name: _ColumnProfile.of(name, cells) for name in names if name not in rejected}
    source, reason = _guess_input_and_output(path, cells, profiles)
    reasons = {"columns": reason}
    assigned = {*columns.list_columns(source), columns.find_thumb_column(cells, source)}
    free = [profile for name, profile in profiles.items() if name not in assigned]
    # The best group first: certain ones, then those with the fewest values, whose groups are the largest. A column that
    # follows the answers is excluded, because it would put all rows with a label on one side.
    candidates = [column for column in free if column.may_be_group and not source.group]
    groups = [column for column in candidates if not _follows_answers(cells, source, column)]
    groups.sort(key=lambda column: (not column.is_group, len(column.counts)))
    # Then ids and tags among the columns without a role.
    ids = [column.name for column in free if column.is_id]
    answers = _find_answers(cells, source, [*profiles.values()], free)
    free = [column for column in free if column.name not in answers]
    tags = tuple(column.name for column in free if column.is_tag and column not in groups)
    if not source.id and ids:
        source, reasons["id"] = replace(source, id=ids[0]), "its name, and because no value repeats"
    if groups and groups[0].is_group:
        num_groups, num_rows = len(groups[0].counts), groups[0].num_rows
        source = replace(source, group=groups[0].name)
        reasons["group"] = f"its name, and {num_groups:,} values in {num_rows:,} rows"
    if not source.tags and tags:
        source, reasons["tags"] = replace(source, tags=tags), "their few, repeated values"
        if names := [column.name for column in free if column.name in tags and column.has_answer_form]:
            reasons["tags"] += (
                f". To predict {' or '.join(names)}, write another task file with output: {names[0]}"
            )
    if answers:
        questions = tuple(TaskQuestion(name, column=name) for name in answers)
        source, reasons["questions"] = replace(source, output=None, questions=questions), source.output or ""
    return ColumnRoles(source, reasons)


def _split_name(name: str) -> list[str]:
    """The words of a name in their order: `Cust-ID`, `custId` and `custid` are cust and id."""
    words: list[str] = []
    for word in columns.split_words(name).split():
        stem = word.removesuffix("id")
        words += (stem, "id") if stem != word and stem in _GROUP_WORDS else (word,)
    return words


def _has_noun(words: Sequence[str], nouns: Sequence[str]) -> bool:
    singulars = [word.removesuffix("s") for word in words]
    return any(
        noun in words
        or any(word == noun or (len(noun) >= _MIN_COMPOUND and word.endswith(noun)) for word in singulars)
        for noun in nouns
    )


def _follows_answers(cells: RawCells, source: RowSource, column: _ColumnProfile) -> bool:
    """Whether the column has one value for each answer, and answers repeat or are as many as its values."""
    answers = []
    for row in cells:
        value = turns.parse_turns(row.get(source.messages or source.output or ""))
        is_chat = source.messages and isinstance(value, list) and value
        answers.append(str(value[-1] if is_chat else value).strip())
    pairs = {(answer, str(row.get(column.name)).strip()) for answer, row in zip(answers, cells, strict=True)}
    num_answers = len(set(answers))
    return len(pairs) == num_answers and (
        num_answers <= len(answers) / 4 or num_answers == len({value for _, value in pairs})
    )


def _find_answers(
    cells: RawCells, source: RowSource, profiles: Sequence[_ColumnProfile], free: Sequence[_ColumnProfile]
) -> list[str]:
    """The columns of several answers to one text, in their order; empty without clear evidence: the output and free
    columns that are named like one have few values, and texts say something about each of them."""
    named = [source.output, *(column.name for column in free if column.has_answer_form)]
    columns = [column for column in profiles if column.name in named and column.is_filled_tag]
    if len(columns) < 2:
        return []
    texts = [" ".join(str(row.get(name)) for name in source.input) for row in cells]
    names = [column.name for column in columns if _is_predictable(texts, column.values)]
    return names if source.output in names and len(names) > 1 else []


def _is_predictable(texts: Sequence[str], values: Sequence[str]) -> bool:
    """Whether the words of held-out texts predict the values clearly better than chance; equal texts count once."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import cohen_kappa_score
    from sklearn.model_selection import KFold, cross_val_predict

    pairs = list(dict(zip(texts, values, strict=True)).items())[:_MAX_TEXTS]
    rows, gold = zip(*pairs, strict=True)
    if not any(re.search(r"\w\w", text) for text in rows) or len(pairs) < _MIN_GROUPS:
        return False
    folds = KFold(3, shuffle=True, random_state=0)
    features = TfidfVectorizer(sublinear_tf=True).fit_transform(rows)
    predicted = cross_val_predict(RidgeClassifier(class_weight="balanced"), features, gold, cv=folds)
    return bool(cohen_kappa_score(gold, predicted) - 2 / len(pairs) ** 0.5 > _MIN_KAPPA)


def _guess_input_and_output(
    path: Path, cells: RawCells, profiles: Mapping[str, _ColumnProfile]
) -> tuple[RowSource, str]:
    texts = sorted((c for c in profiles.values() if c.is_text), key=lambda column: -column.mean_words)
    labels = [column for column in profiles.values() if column.is_label]
    labels.sort(key=lambda column: (column.has_ids, -len(column.counts)))
    # By name: the guess of the reader, then a pair of texts, then one known column with another column of a usual name.
    candidates = [(RowSource(path), _BY_NAME)]
    if {"input", "output"} <= {text.side for text in texts}:
        candidates.append(_pair_texts(path, texts, list(profiles)))
    inputs = sorted(texts, key=lambda text: _SIDE_ORDER.index(text.side))
    candidates += [(RowSource(path, input=(column.name,)), _BY_NAME) for column in inputs]
    candidates += [
        (
            RowSource(path, output=column.name),
            f"the name of the input, and {len(column.counts):,} values that repeat",
        )
        for column in labels
    ]
    for candidate, reason in candidates:
        try:
            return columns.guess_columns(cells, candidate, by_order=False).source, reason
        except InputError as error:
            unknown = error
        # Without a header, a guess by values would look right but lose the first row.
        if any(column.has_value_as_name for column in profiles.values()):
            raise unknown
    # By values: two texts, a text and a label, or the only two columns.
    unnumbered = [name for name, column in profiles.items() if name and not column.is_row_number]
    if len(texts) >= 2:
        source, reason = _pair_texts(path, texts, list(profiles))
    elif texts and labels:
        reason = f"their content: long texts, and {len(labels[0].counts):,} values that repeat"
        return RowSource(path, input=(texts[0].name,), output=labels[0].name), reason
    elif len(unnumbered) == 2:
        source, reason = RowSource(path, input=(unnumbered[0],), output=unnumbered[1]), _BY_ORDER
    else:
        raise unknown
    return columns.guess_columns(cells, source).source, reason


def _pair_texts(path: Path, texts: Sequence[_ColumnProfile], order: Sequence[str]) -> tuple[RowSource, str]:
    """Choose input and output among columns of texts.

    If the names state the sides, best by a noun, the longest column of each side is chosen; otherwise the two longest
    columns: the one with questions, or else the first in the file, is the input. Length does not decide the side,
    because summaries are shorter than their input, but replies are often longer.
    """
    ranked = sorted(texts, key=lambda text: not text.has_side_noun)
    inputs = [text for text in ranked if text.side == "input"]
    outputs = [text for text in ranked if text.side == "output"]
    if (inputs and outputs) or len(inputs) + len(outputs) == 1:
        unnamed = [text for text in texts if text not in (*inputs, *outputs)]
        first, second, reason = (inputs or unnamed)[0], (outputs or unnamed)[0], _BY_WORDS
    else:
        first, second = sorted(texts[:2], key=lambda text: order.index(text.name))
        reason = _BY_ORDER
        if second.has_questions and not first.has_questions:
            first, second, reason = second, first, _BY_QUESTIONS
    return RowSource(path, input=(first.name,), output=second.name), reason
