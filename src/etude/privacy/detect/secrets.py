"""Find passwords, keys and tokens, by the formats that their issuers document and by labels.

Every pattern begins at the edge of a token and is bounded, so the time is proportional to the
length of a text.
"""

import math
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from etude.base.word_lists import read_table
from etude.privacy.detect.no_secret import is_call, is_expression, is_message, is_placeholder
from etude.privacy.detect.value_labels import LINKS, build_label_pattern, may_have_label
from etude.privacy.spans import UNSPACED_LETTERS, Span, has_label, lower_to_ascii, to_spans

MIN_ENTROPY = 3.0
"""Least bits per character at which a labelled value counts as random."""

_TABLE = read_table(__file__, "secrets.yaml")
_FORMS: dict[str, re.Pattern[str]] = {
    issuer: re.compile("|".join(forms)) for issuer, forms in _TABLE["forms"].items()
}
_PATTERNS = {name: re.compile("".join(pieces)) for name, pieces in _TABLE["patterns"].items()}
_FORM = re.compile(
    r"(?<![A-Za-z0-9_-])"
    rf"(?:{'|'.join(f'(?:{form.pattern})' for form in _FORMS.values())})"
    r"(?![A-Za-z0-9_])"
)
MIN_KEY_LENGTH = 20
"""Characters of a key without a label."""
# The beginning of a token that is long enough for a key
_LONG_TOKEN = re.compile(rf"(?<![^\s\"'`<>(=:,;])[^\s\"'`<>(,;]{{{MIN_KEY_LENGTH}}}")
_KEY = re.compile(
    rf"(?<![A-Za-z0-9])(?:[\w.-]{{0,24}}[_. -])?(?:{'|'.join(_TABLE['key_names'])})s?[\"'\]]{{0,2}}"
    r"(?: {0,2}(?:=>|:=|==?|:|\bis\b(?: now)?|\bwas\b|\bto\b)) {0,2}[\"'`]?(?:base64:)?"
    r"(?P<value>[A-Za-z0-9+/_.~%-]{12,512}={0,2})(?![\w+/=])",
    re.I,
)
_LABELLED_PASSWORD = re.compile(
    rf"(?<![A-Za-z]){build_label_pattern('passwords')}(?![a-z0-9_])"
    rf"(?P<link>(?:[ \t]{{0,2}}(?:{LINKS})){{0,3}})[ \t]{{0,2}}"
    rf"(?P<quote>[\"'`“‘*]?)(?P<value>[^\s\"'`”’，：！-｠{UNSPACED_LETTERS}]{{4,128}})",
    re.I,
)
_CARD_NEARBY = re.compile(rf"\b(?:{'|'.join(_TABLE['card_words'])})\b|(?:[0-9][ -]?){{12}}", re.I)
# Characters before and after a security code in which a card is mentioned
_CARD_DISTANCE = 100
# Signs after which any value is a password
_ASSIGNMENTS = ("=", ":", "：", ":=", "==", "=>")
# Lower-case words joined by hyphens and the like
_WORDS = re.compile(r"[a-z]{1,30}(?:[_.-]{1,2}[a-z]{1,30})+")


class _LabelRule(NamedTuple):
    """How one kind of labelled secret is found."""

    words: tuple[str, ...]
    """A text without any of these words is not searched."""
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str]], bool]
    kind: str = "password"
    rule: str = "label"
    is_trimmed: bool = False
    """Whether punctuation at the end belongs to the sentence."""


def find_secrets(text: str) -> Iterator[Span]:
    """Find private keys, keys and tokens, and passwords."""
    if max(map(len, text.split()), default=0) >= MIN_KEY_LENGTH and _LONG_TOKEN.search(text):
        yield from _find_tokens(text)
    yield from _find_labelled(text)


def _find_tokens(text: str) -> Iterator[Span]:
    if "PRIVATE KEY" in text:
        yield from to_spans(_PATTERNS["pem"].finditer(text), "private_key", "PEM")
    if "PuTTY" in text:
        yield from to_spans(_PATTERNS["putty"].finditer(text), "private_key", "PuTTY")
    for match in _FORM.finditer(text):
        # Repeated characters, words of a style sheet and sequences of genes are not keys.
        if len(set(match[0][-16:])) > 4 and not _WORDS.fullmatch(match[0]):
            issuer = next(name for name, form in _FORMS.items() if form.match(match[0]))
            yield Span(*match.span(), "api_key", match[0], f"form: {issuer}")
    if "$" in text:
        yield from to_spans(_PATTERNS["hash"].finditer(text), "password", "hash")
    if "https://" in text:
        yield from to_spans(_PATTERNS["webhook"].finditer(text), "api_key", "webhook")


def _find_labelled(text: str) -> Iterator[Span]:
    """Find secrets by a word before them, or by their position in a URL or after an e-mail
    address.
    """
    # Searching for the words first takes a seventh of the time of the patterns.
    lowered = lower_to_ascii(text)
    if "://" in text:
        in_urls = (
            match for match in _PATTERNS["url"].finditer(text) if not is_placeholder(match["value"])
        )
        yield from to_spans(in_urls, "password", "in a URL", "value")
    for label in _LABEL_RULES:
        if any(map(lowered.__contains__, label.words)):
            for match in filter(label.accepts, label.pattern.finditer(text)):
                yield _to_span(match, label.kind, label.rule, label.is_trimmed)
    if may_have_label(text, "passwords"):
        for match in filter(_is_password, _LABELLED_PASSWORD.finditer(text)):
            yield _to_span(match, "password", "label", is_trimmed=True)
    if "@" in text:
        for pattern in (_PATTERNS["credentials"], _PATTERNS["listed_login"]):
            for match in filter(_is_after_email, pattern.finditer(text)):
                yield _to_span(match, "password", "after an e-mail address", is_trimmed=True)


def _to_span(match: re.Match[str], kind: str, rule: str, is_trimmed: bool) -> Span:
    group = match.lastgroup if match.re is _PATTERNS["command"] else "value"
    group = "plain" if match.groupdict().get("plain") else group
    start = match.start(group or 0)
    value = match[group or 0]
    if is_trimmed:
        value = _strip_punctuation(value)
    return Span(start, start + len(value), kind, value, rule)


def _is_after_email(match: re.Match[str]) -> bool:
    # Not after the user of a URL, and not in git@host:path.
    is_credentials = match.re is _PATTERNS["credentials"]
    if is_credentials and has_label(match.string, match.start(), _PATTERNS["no_mailbox"], 160):
        return False
    value = _strip_punctuation(match["value"])
    return _looks_like_password(value) and not is_placeholder(value)


def _is_key(match: re.Match[str]) -> bool:
    return is_random(match["value"]) and not is_call(match) and not is_placeholder(match["value"])


def _is_argument(match: re.Match[str]) -> bool:
    value = _strip_punctuation(match[match.lastgroup or "value"])
    return len(value) >= 4 and not is_placeholder(value)


def _is_docker_login(match: re.Match[str]) -> bool:
    """Whether Base64 contains a user and a password with a colon between them."""
    try:
        return b":" in b64decode(match["value"], validate=True)[1:-1]
    except ValueError:
        return False


def _is_card_code(match: re.Match[str]) -> bool:
    start = max(match.start() - _CARD_DISTANCE, 0)
    end = match.end() + _CARD_DISTANCE
    return bool(_CARD_NEARBY.search(match.string, start, end))


def _is_password(match: re.Match[str]) -> bool:
    """Whether the value after a label of passwords is neither an ordinary word, nor code, nor a
    placeholder.
    """
    link = match["link"].strip()
    is_quoted = bool(match["quote"])
    value = _strip_punctuation(match["value"])
    if len(value) < 4 or is_placeholder(value) or is_placeholder(match["value"].rstrip(".,;:)")):
        return False
    if is_message(match) if is_quoted else _is_attached(match) or is_expression(match, link):
        return False
    is_verb = "word" in match.re.groupindex and match["word"].lower() == "pass"  # "pass verbose=1"
    if is_verb and link not in (*_ASSIGNMENTS, "is", "was", "reads"):
        return False
    is_assigned = link in _ASSIGNMENTS or (is_quoted and link not in ("(", "[", ","))
    # In "Is the passcode reset?" the question mark belongs to the sentence; so does "!", unless a
    # sign is before the value.
    candidate = value if is_quoted else value.lstrip("([").rstrip("?" if is_assigned else "?!")
    # One or several words with hyphens, in lower case except for first letters.
    words = re.split("[-/']", candidate)
    is_ordinary = all(word.isalpha() and (word[1:].islower() or len(word) == 1) for word in words)
    is_ordinary = is_ordinary and not (is_assigned and link in ("=", "==", ":="))
    is_name = link not in _ASSIGNMENTS and _PATTERNS["assigned"].match(candidate)
    if is_placeholder(candidate) or is_ordinary or is_name:
        return False
    return is_assigned or _looks_like_password(candidate)


def _is_setting(match: re.Match[str]) -> bool:
    """Whether the value of a line that only sets a password is neither a prompt nor a
    placeholder.
    """
    value = match[match.lastgroup or "value"]
    return (
        not is_placeholder(value)
        and not (match["quote"] and is_message(match))
        and value[0] not in "$%{<"
    )


def _is_attached(match: re.Match[str]) -> bool:
    """Whether the value follows an ASCII label directly (`pwd.getpwuid`) or after a bracket
    (`pass_none(func)`).
    """
    text = match.string
    link_start = match.start("link")
    is_open = match["link"].strip() in ("", "(", "[", ",")
    return text[link_start - 1].isascii() and not text[link_start].isspace() and is_open


def _is_in_sentence(match: re.Match[str]) -> bool:
    return _looks_like_password(_strip_punctuation(match["value"]))


def _strip_punctuation(value: str) -> str:
    return value.rstrip(".,;:)]}>*")


def _looks_like_password(value: str) -> bool:
    """Whether a word mixes letters with digits or punctuation, or has a capital inside."""
    if len(value) < 6 or "@" in value or value.startswith(("http", "www.")):
        return False
    has_digit = any(map(str.isdigit, value))
    has_punctuation = any(letter in "!#$%^&*?~+=_" for letter in value)
    has_capital = bool(re.search("[a-z][A-Z]", value))
    return any(map(str.isalpha, value)) and (has_digit or has_punctuation or has_capital)


def is_random(value: str) -> bool:
    """Whether a value looks machine-made: mixed characters, MIN_ENTROPY bits per character, and a
    digit.
    """
    if _PATTERNS["not_random"].fullmatch(value):
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= MIN_ENTROPY and any(map(str.isdigit, value))


_LABEL_RULES = (
    _LabelRule(("key", "secret", "token", "sig", "credential"), _KEY, _is_key, "api_key"),
    _LabelRule(("bearer", "basic", "token"), _PATTERNS["bearer"], _is_key, "api_key"),
    _LabelRule(("pass", "pwd"), _PATTERNS["password"], _is_password, is_trimmed=True),
    _LabelRule(("pass",), _PATTERNS["for_password"], _is_in_sentence, is_trimmed=True),
    _LabelRule(
        ("pass", "pwd"), _PATTERNS["element"], lambda match: not is_placeholder(match["value"])
    ),
    _LabelRule(('"auth"',), _PATTERNS["docker"], _is_docker_login),
    _LabelRule(("pass", "pwd"), _PATTERNS["quoted_password"], lambda match: not is_message(match)),
    _LabelRule(("passphrase", "pass_phrase", "pass-phrase"), _PATTERNS["passphrase"], _is_setting),
    _LabelRule(("pass", "masterauth"), _PATTERNS["setting"], _is_setting),
    _LabelRule(("identified",), _PATTERNS["identified"], _is_setting),
    _LabelRule(
        (":5432:", ":543", ":6432:", ":*:"),
        _PATTERNS["pgpass"],
        lambda match: not is_placeholder(match["value"]),
    ),
    _LabelRule(
        ("login", "log in", "log-in", "user", "credential"),
        _PATTERNS["login"],
        _is_in_sentence,
        is_trimmed=True,
    ),
    _LabelRule(("pin",), _PATTERNS["pin"], lambda match: True),
    _LabelRule(("cvv", "cvc", "security code"), _PATTERNS["card_code"], _is_card_code),
    _LabelRule(
        ("mysql", "mariadb", "sshpass", "curl", "wget", "http"),
        _PATTERNS["command"],
        _is_argument,
        rule="argument of a command",
        is_trimmed=True,
    ),
    _LabelRule(("cookie",), _PATTERNS["cookie"], _is_key, "api_key"),
)
