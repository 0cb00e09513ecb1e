"""Whether the names and numbers of an answer are in the documents, in the question, or in a passage
that it cites.

Names are runs of capitalised words. A single capitalised word at the beginning of a sentence counts
if a verb follows. A name in small letters counts if a word such as `by` is before it and no text
contains the name. Numbers are digits, times, and English words from thirteen on. Whether an answer
is supported is decided sentence by sentence: a sentence that mentions the subject of a cited
passage must agree with this passage and with its `Label: value` lines. An answer that presents a
passage must have its warning, which is a line such as `Warning: value`. A wrong paraphrase is
missed, and a real name that is in no document counts as invented.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from etude.base.word_lists import parse_words, read_table
from etude.checks.records.numbers_dates import parse_number
from etude.index.passages import Passage
from etude.text.normal_forms import normalise

_TABLE = read_table(__file__, "grounding_words.yaml")
_OPENERS = parse_words(_TABLE["openers"])
_VERBS = parse_words(_TABLE["verbs"])
_JOINERS, _INTRODUCERS = (parse_words(_TABLE[words]) for words in ("joiners", "introduced"))
_ANY_JOINER = "|".join(sorted(_JOINERS))
_JOINED = re.compile(rf" (?:(?:{_ANY_JOINER}) )+")
_SMALL, _LARGE = (
    {word: int(digits) for word, digits in _TABLE[size].items()} for size in ("small", "large")
)
_CAPITALISED = r"[A-ZÀ-ÖØ-Þ][\w'’-]*(?: \d\w*(?:\.\d+)*)?"
_NAME = re.compile(rf"\b{_CAPITALISED}(?:(?: (?:{_ANY_JOINER})){{0,3}} {_CAPITALISED})*")
_INTRODUCED = re.compile(rf"\b(?:{'|'.join(_INTRODUCERS)}) ([^\W\d_]{{3,}} [^\W\d_]{{3,}})\b")
_NEXT_WORD = re.compile(r" (\w+)")
_BEGIN = re.compile(r"(?:\A|[.!?:\n]\s*[\"'“‘(*-]*\s*)\Z")
_NUMBER = re.compile(r"(?<![^\W_])\d+(?:[.,:]\d+)*")
_NUMBER_WORD = re.compile(
    rf"\b({'|'.join((*_LARGE, *_SMALL))})(?:[ -]({'|'.join(_SMALL)}|one))?\b", re.IGNORECASE
)
_COUNTED = re.compile(r"(?<![\w.,:])(\d[\d.,]*) ([^\W\d_]{3,})")
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n+")
_FIELD = re.compile(r"^[ \t*-]*([^\W\d_][\w /()-]{1,30}):[ \t]+(\S.*)$", re.MULTILINE)
_CAUTIONS = tuple(normalise(label) for label in _TABLE["cautions"])
_STEM = 5  # first letters of a word that are compared
_MIN_SHARED = 0.5  # share of the words of a title, or of a warning, from which an answer has it
_MAX_CATEGORY = (
    3  # maximum number of words of a field's value that is looked up as a whole, such as a colour
)


@dataclass(frozen=True, eq=False)
class _GroundText:
    """A text whose names and numbers an answer may use."""

    text: str

    @cached_property
    def words(self) -> str:
        return _pad(self.text)

    @cached_property
    def numbers(self) -> set[str]:
        return {
            value
            for readings in _read_numbers(_write_digits(self.text)).values()
            for value in readings
        }

    @cached_property
    def subject(self) -> set[str]:
        return (
            set(_pad(self.text.strip().partition("\n")[0]).split()) - _OPENERS - _JOINERS - _VERBS
        )

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """The values of its `Label: value` lines by normalised label."""
        return {normalise(label): value for label, value in _FIELD.findall(self.text)}

    @cached_property
    def cautions(self) -> list[str]:
        return [
            value
            for label, value in self.fields.items()
            if label.startswith(_CAUTIONS) and normalise(value).split()[:1] != ["none"]
        ]

    @cached_property
    def counted(self) -> set[tuple[str, str]]:
        return set(_COUNTED.findall(_write_digits(self.text)))


@dataclass(frozen=True)
class Grounds:
    """The texts whose names an answer may use: passages by name, and words of the task (fields,
    labels).
    """

    passages: Mapping[str, _GroundText]
    task_words: str

    @classmethod
    def from_passages(cls, passages: Sequence[Passage], words: Sequence[str]) -> "Grounds":
        """Read the texts of passages and words."""
        texts: dict[str, str] = {}
        for passage in passages:
            texts[passage.name] = f"{texts.get(passage.name, '')}\n{passage.text}"
        return cls({name: _GroundText(text) for name, text in texts.items()}, " ".join(words))

    @cached_property
    def all_text(self) -> str:
        """All passages and words of the task as one normalised text."""
        return self._whole.words

    @cached_property
    def document_words(self) -> str:
        return "".join(source.words for source in self.passages.values())

    @cached_property
    def _whole(self) -> _GroundText:
        return _GroundText(
            "\n".join((*(source.text for source in self.passages.values()), self.task_words))
        )

    def find_invented(self, text: str, question: str) -> tuple[str, ...]:
        """Find names and numbers of an answer that are in no document and not in the question."""
        return tuple(_find_missing(text, (self._whole, _GroundText(question))))

    def is_supported(self, text: str, question: str, cited: Sequence[str]) -> bool:
        """Whether the names and numbers of an answer are in a passage that it cites, or in the
        question, and each sentence agrees with the passages that it is about.

        A sentence that mentions no subject is about the passages of the sentence before it, or of
        the question.
        """
        sources = [self.passages[name] for name in cited if name in self.passages]
        free = (_GroundText(self.task_words), _GroundText(question))
        topic = _find_topic(question, sources) or sources
        for sentence in filter(None, _SENTENCE.split(text)):
            topic = _find_topic(sentence, sources) or topic
            if any(_find_missing(sentence, (*topic, *free))) or _contradicts(
                sentence, topic, sources, free
            ):
                return False
        return not any(_leaves_out_caution(text, source) for source in sources)


def list_stems(text: str) -> set[str]:
    """List the first five letters of each word with at least four letters."""
    return {word[:_STEM] for word in re.findall(r"[^\W\d_]{4,}", text.casefold())}


def _leaves_out_caution(text: str, source: _GroundText) -> bool:
    """Whether a text of several sentences presents a passage without one of its warnings."""
    stems = list_stems(text)

    def shares(words: str) -> bool:
        expected = list_stems(words)
        return len(expected & stems) >= _MIN_SHARED * len(expected)

    has_several = len([*filter(None, _SENTENCE.split(text))]) > 1
    title = source.text.strip().partition("\n")[0]
    is_presented = has_several and bool(list_stems(title)) and shares(title)
    return is_presented and not all(map(shares, source.cautions))


def _pad(text: str) -> str:
    return f" {normalise(text)} "


def _find_topic(text: str, sources: Sequence[_GroundText]) -> list[_GroundText]:
    """Find the passages of whose title a text has a word, such as a name, that no other passage has
    there.
    """
    words = set(normalise(text).split())
    return [
        source
        for source in sources
        if any(
            word in words and sum(word in other.subject for other in sources) == 1
            for word in source.subject
        )
    ]


def _contradicts(
    sentence: str,
    topic: Sequence[_GroundText],
    sources: Sequence[_GroundText],
    free: Sequence[_GroundText],
) -> bool:
    """Whether a sentence gives a field of its passages the value of another field, or of another
    passage.
    """
    claim = _GroundText(sentence)
    mentioned = [
        value
        for source in topic
        for label, value in source.fields.items()
        if f" {label}" in claim.words
    ]
    if mentioned:
        # A `Label: value` line of the answer itself has only numbers of this field.
        is_field = any(label in source.fields for label in claim.fields for source in topic)
        subjects = [_GroundText(source.text.strip().partition("\n")[0]) for source in topic]
        others = () if is_field else (*subjects, *free)
        allowed = {
            number
            for source in (*map(_GroundText, mentioned), *others)
            for number in source.numbers
        }
        if any(readings.isdisjoint(allowed) for readings in _read_numbers(sentence).values()):
            return True
    for source in sources:
        values = {
            label: _pad(value) for label, value in source.fields.items() if source not in topic
        }
        for label, value in values.items():
            own = [_pad(other.fields[label]) for other in topic if label in other.fields]
            is_short = len(value.split()) <= _MAX_CATEGORY and not value.replace(" ", "").isdigit()
            is_category = is_short and value in claim.words
            if (
                is_category
                and own
                and not any(other in claim.words or value in other for other in own)
            ):
                return True
    counted = {pair for source in (*topic, *free) for pair in source.counted}
    nouns = {noun for _, noun in counted}
    return any(noun in nouns and (number, noun) not in counted for number, noun in claim.counted)


def _find_missing(text: str, sources: Sequence[_GroundText]) -> Iterator[str]:
    """Yield each name and number that is in no source, once."""
    for name in dict.fromkeys(_find_names(text, sources)):
        missing = [part for part in _JOINED.split(name) if not _is_in(part, sources)]
        if missing and not _is_in(name, sources):
            yield name if len(missing) == len(_JOINED.split(name)) else missing[0]
    for number, readings in _read_numbers(text).items():
        if all(readings.isdisjoint(source.numbers) for source in sources):
            yield number


def _is_in(words: str, sources: Sequence[_GroundText]) -> bool:
    padded = _pad(words)
    return any(padded in source.words for source in sources)


def _find_names(text: str, sources: Sequence[_GroundText]) -> Iterator[str]:
    for match in _NAME.finditer(text):
        name = match[0]
        if _BEGIN.search(text[max(0, match.start() - 12) : match.start()]):
            next_word = _NEXT_WORD.match(text, match.end())
            name = _drop_opener(name, next_word[1] if next_word else "", sources)
        if name:
            yield name
    for match in _INTRODUCED.finditer(text):
        if not any(word != word.lower() or _is_in(word, sources) for word in match[1].split()):
            yield match[1]


def _drop_opener(name: str, next_word: str, sources: Sequence[_GroundText]) -> str:
    """Drop the first words of a name at the beginning of a sentence that are capitalised only
    because of that.
    """
    first, _, tail = name.partition(" ")
    if not tail:
        is_subject = next_word in _VERBS and first.casefold() not in _OPENERS
        return name if is_subject else ""
    while first.casefold() in _OPENERS or first in _JOINERS:
        first, _, tail = tail.partition(" ")
    name = f"{first} {tail}".strip()
    is_adjective = (
        tail and _is_in(tail, sources) and not _is_in(name, sources)
    )  # as in "Higher Alps"
    return "" if is_adjective else name


def _read_numbers(text: str) -> dict[str, set[str]]:
    """Read each number of a text with its possible values; a full hour is its hour."""
    numbers = {}
    for number in _NUMBER.findall(text):
        hour = number.removesuffix(":00")
        numbers[number] = {hour} if ":" in number else set(parse_number(number))
    for match in _NUMBER_WORD.finditer(text):
        if match[1].casefold() in _LARGE:
            numbers[match[0]] = {_read_number_word(match)}
    return numbers


def _write_digits(text: str) -> str:
    return _NUMBER_WORD.sub(_read_number_word, text)


def _read_number_word(match: re.Match[str]) -> str:
    first, second = (word and word.casefold() for word in match.groups())
    return str((_LARGE.get(first) or _SMALL[first]) + (_SMALL.get(second, 1) if second else 0))
