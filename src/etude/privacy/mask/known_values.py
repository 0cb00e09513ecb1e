"""Whether two spellings are the same value, and where known values occur again.

Numbers are compared by letters and digits, keys and passwords exactly, all else without case and
spaces.
"""

import json
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from etude.privacy.mask.lookup import WORD
from etude.privacy.plain import to_plain_text, to_plain_value
from etude.privacy.spans import Span

NUMBER_KINDS = frozenset(("card", "iban", "national_id", "phone", "id_number"))
"""Kinds that people write with different spaces and hyphens."""
SECRET_KINDS = frozenset(("private_key", "api_key", "password"))
"""Kinds in which every character counts."""
MIN_NUMBER_LENGTH = 7
"""Characters of a number that is found with other spaces and hyphens. A PIN is too short: prices
would match.
"""
_SPACES = re.compile(r"\s+")
# WORD for a lowered ASCII text
_ASCII_WORD = re.compile("[a-z0-9]+")
_GAP = re.compile(r"[ .\-/()]{0,3}")
_DATE = re.compile(
    r"[0-9]{4}([-./ ])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-./ ])[0-9]{1,2}\2[0-9]{2,4}"
)
_PREFIX_LENGTH = 4
_RULE = "the same value"


def to_canonical(kind: str, text: str) -> str:
    """Return a text that is equal for all spellings of a value."""
    text = decode_json_string(text)
    if kind in SECRET_KINDS:
        return text
    if kind in NUMBER_KINDS:
        return "".join(filter(str.isalnum, text)).casefold() or text
    return _SPACES.sub(" ", text.strip()).casefold() or text


def decode_json_string(text: str) -> str:
    """Decode the content of a JSON string; a text that cannot be one is not changed."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def encode_json_string(text: str, ascii_only: bool) -> str:
    """Encode a text as the content of a JSON string."""
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]


class KnownValues:
    """Values that were found somewhere, to find them in texts in which they have no label.

    The time of a search is proportional to the length of the text and does not depend on the number
    of values.
    """

    def __init__(self) -> None:
        # Canonical number -> its kind
        self._numbers: dict[str, str] = {}
        # Lengths of the canonical numbers
        self._lengths: set[int] = set()
        # First _PREFIX_LENGTH characters of the numbers
        self._prefixes: set[str] = set()
        # First characters of the numbers, 1 to _PREFIX_LENGTH of them, with which their first word
        # can begin
        self._openings: set[str] = set()
        # Words -> other values that consist of these words -> kind
        self._literals: defaultdict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
        # First word -> how many words the values that begin with it have
        self._num_words: defaultdict[str, set[int]] = defaultdict(set)

    def __bool__(self) -> bool:
        return bool(self._numbers or self._literals)

    def add(self, kind: str, text: str) -> None:
        """Add a value; if it has two kinds, the first one stays."""
        canonical = to_canonical(kind, text)
        if kind in NUMBER_KINDS and len(canonical) >= MIN_NUMBER_LENGTH:
            self._numbers.setdefault(canonical, kind)
            self._lengths.add(len(canonical))
            self._prefixes.add(canonical[:_PREFIX_LENGTH])
            self._openings |= {canonical[:length] for length in range(1, _PREFIX_LENGTH + 1)}
            return
        decoded = decode_json_string(text)
        encodings = (encode_json_string(decoded, ascii_only) for ascii_only in (True, False))
        for form in (text, to_plain_value(decoded), *encodings):
            words = tuple(word[0].casefold() for word in WORD.finditer(form))
            self._literals[words].setdefault(form, kind)
            self._num_words["".join(words[:1])].add(len(words))

    def find_spans(self, text: str) -> Iterator[Span]:
        """Yield where the values occur as whole words, also in JSON strings. Spans may overlap."""
        source = to_plain_text(text)
        # In most texts no value begins with one of the words; then the positions of the words are
        # not needed.
        text = source.plain
        words = _ASCII_WORD.findall(text.lower()) if text.isascii() else WORD.findall(text)
        openings = [word[:_PREFIX_LENGTH].lower() for word in words]
        has_number = bool(self._openings) and not self._openings.isdisjoint(openings)
        has_literal = "" in self._num_words or not self._num_words.keys().isdisjoint(
            map(str.casefold, words)
        )
        matches = list(WORD.finditer(text)) if has_literal or has_number else ()
        if has_literal:
            yield from source.to_original(self._find_literals(text, matches))
        if has_number:
            yield from source.to_original(self._find_numbers(text, matches))

    def _find_literals(self, text: str, matches: Sequence[re.Match[str]]) -> Iterator[Span]:
        # Values without a letter or digit.
        for form, kind in self._literals.get((), {}).items():
            for match in re.finditer(re.escape(form), text):
                yield Span(*match.span(), kind, form, _RULE)
        words = [match[0].casefold() for match in matches]
        for first, word in enumerate(words):
            for count in self._num_words.get(word, ()):
                for form, kind in self._literals.get(
                    tuple(words[first : first + count]), {}
                ).items():
                    first_word = WORD.search(form)
                    start = matches[first].start() - (first_word.start() if first_word else 0)
                    candidate = text[max(start, 0) : start + len(form)]
                    is_equal = candidate == form
                    if is_equal or (
                        kind not in SECRET_KINDS and candidate.casefold() == form.casefold()
                    ):
                        yield Span(start, start + len(form), kind, candidate, _RULE)

    def _find_numbers(self, text: str, matches: Sequence[re.Match[str]]) -> Iterator[Span]:
        joined = "".join(match[0] for match in matches).lower()
        starts = list(accumulate((match.end() - match.start() for match in matches), initial=0))
        if len(joined) != starts[-1]:
            return  # the text has a letter that becomes two in lower case
        for first, begin in enumerate(starts[:-1]):
            if joined[begin : begin + _PREFIX_LENGTH] not in self._prefixes:
                continue
            for length in self._lengths:
                kind = self._numbers.get(joined[begin : begin + length])
                last = bisect_left(starts, begin + length)
                is_whole = begin + length in starts[last : last + 1]
                if kind and is_whole and _is_one_number(text, matches[first:last]):
                    start = matches[first].start()
                    end = matches[last - 1].end()
                    yield Span(start, end, kind, text[start:end], _RULE)


def is_distinctive(kind: str, text: str) -> bool:
    """Whether a value means the same in every row. A PIN does not, because it can be a year or a
    price elsewhere.
    """
    if kind in NUMBER_KINDS:
        return len(to_canonical(kind, text)) >= MIN_NUMBER_LENGTH
    return kind not in SECRET_KINDS or (
        len(text) >= MIN_NUMBER_LENGTH and any(map(str.isdigit, text))
    )


def is_word_password(kind: str, text: str) -> bool:
    """Whether a password is an ordinary word, which means something else without its label."""
    return kind == "password" and all(word.isalpha() for word in re.split("[-_.' ]", text) if word)


def _is_one_number(text: str, matches: Sequence[re.Match[str]]) -> bool:
    """Whether words are close enough to be one number, and are not a date."""
    if len(matches) > 1 and _DATE.fullmatch(text[matches[0].start() : matches[-1].end()]):
        return False
    return all(_GAP.fullmatch(text, left.end(), right.start()) for left, right in pairwise(matches))
