"""Passwords, keys and tokens: the forms their issuers document, and labelled values.

Every pattern starts at the edge of a token and is bounded, so that a long text costs time in proportion to
its length.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator

from etude.base.word_lists import read_table
from etude.privacy.detect.no_secret import is_blank, is_call, is_expression, is_message
from etude.privacy.detect.value_labels import LINKS, label_pattern, may_hold
from etude.privacy.spans import UNSPACED, Span, in_small_ascii, labelled, spans_of

ENTROPY = 3.0
"""Bits a character from which a labelled value counts as random."""

_TABLE = read_table(__file__, "secrets.yaml")
_FORMS: dict[str, re.Pattern[str]] = {
    issuer: re.compile("|".join(forms)) for issuer, forms in _TABLE["forms"].items()
}
_PATTERNS = {name: re.compile("".join(parts)) for name, parts in _TABLE["patterns"].items()}
_FORM = re.compile(
    rf"(?<![A-Za-z0-9_-])(?:{'|'.join(f'(?:{form.pattern})' for form in _FORMS.values())})(?![A-Za-z0-9_])"
)
LONG = 20
"""Characters from which on a token may be a key."""
_LONG = re.compile(rf"(?<![^\s\"'`<>(=:,;])[^\s\"'`<>(,;]{{{LONG}}}")
"""Such a token begins here: without one a text holds no key."""
_KEY = re.compile(
    rf"(?<![A-Za-z0-9])(?:[\w.-]{{0,24}}[_. -])?(?:{'|'.join(_TABLE['key_names'])})s?[\"'\]]{{0,2}}"
    r"(?: {0,2}(?:=>|:=|==?|:|\bis\b(?: now)?|\bwas\b|\bto\b)) {0,2}[\"'`]?(?:base64:)?"
    r"(?P<value>[A-Za-z0-9+/_.~%-]{12,512}={0,2})(?![\w+/=])",
    re.I,
)
_NAMED_PASSWORD = re.compile(
    rf"(?<![A-Za-z]){label_pattern('passwords')}(?![a-z0-9_])(?P<link>(?:[ \t]{{0,2}}(?:{LINKS})){{0,3}})[ \t]{{0,2}}"
    rf"(?P<quote>[\"'`“‘*]?)(?P<value>[^\s\"'`”’，：！-｠{UNSPACED}]{{4,128}})",
    re.I,
)
_OF_A_CARD = re.compile(rf"\b(?:{'|'.join(_TABLE['card_words'])})\b|(?:[0-9][ -]?){{12}}", re.I)
_NEAR = 100
"""Characters before and after."""
_FIRM = ("=", ":", "：", ":=", "==", "=>")
"""Between a label and a value that is meant, whatever it looks like."""


_WORDS = re.compile(r"[a-z]{1,30}(?:[_.-]{1,2}[a-z]{1,30})+")
"""Small letters apart by hyphens and the like."""


def secrets(text: str) -> Iterator[Span]:
    """Private keys, keys and tokens, and passwords."""
    if max(map(len, text.split()), default=0) >= LONG and _LONG.search(text):
        yield from _tokens(text)
    yield from _named(text)


def _tokens(text: str) -> Iterator[Span]:
    """What its form alone gives away."""
    if "PRIVATE KEY" in text:
        yield from spans_of(_PATTERNS["pem"].finditer(text), "private_key", "PEM")
    if "PuTTY" in text:
        yield from spans_of(_PATTERNS["putty"].finditer(text), "private_key", "PuTTY")
    for match in _FORM.finditer(text):
        if _is_made(match[0]):
            yield Span(*match.span(), "api_key", match[0], f"form: {_issuer(match[0])}")
    if "$" in text:
        yield from spans_of(_PATTERNS["hash"].finditer(text), "password", "hash")
    if "https://" in text:
        yield from spans_of(_PATTERNS["webhook"].finditer(text), "api_key", "webhook")


def _named(text: str) -> Iterator[Span]:
    """What a word before it, or its place in an address, gives away.

    Looking for the words first takes a seventh of the time that the patterns take.
    """
    plain = in_small_ascii(text)
    if "://" in text:
        in_urls = (match for match in _PATTERNS["url"].finditer(text) if not is_blank(match["value"]))
        yield from spans_of(in_urls, "password", "in a URL", "value")
    for words, pattern, judged in _BY_WORD:
        if any(map(plain.__contains__, words)):
            for match in pattern.finditer(text):
                yield from judged(match)
    if may_hold(text, "passwords"):
        for match in _NAMED_PASSWORD.finditer(text):
            yield from _password(match)
    if "@" in text:
        yield from _after_addresses(text)


def _after_addresses(text: str) -> Iterator[Span]:
    for pattern in (_PATTERNS["credentials"], _PATTERNS["listed_login"]):
        for match in pattern.finditer(text):
            in_url = pattern is _PATTERNS["credentials"] and labelled(
                text, match.start(), _PATTERNS["no_mailbox"], 160
            )
            value = _bare(match["value"])
            if not in_url and _like_password(value) and not is_blank(value):
                yield _cut(match, "value", "after an e-mail address")


def _key(match: re.Match[str]) -> Iterator[Span]:
    """A value that a machine has made, and no code and no blank."""
    if is_random(match["value"]) and not is_call(match) and not is_blank(match["value"]):
        yield Span(*match.span("value"), "api_key", match["value"], "label")


def _argument(match: re.Match[str]) -> Iterator[Span]:
    """The password of a command, where it is no variable and no word for one."""
    span = _cut(match, match.lastgroup or "value", "argument of a command")
    if len(span.text) >= 4 and not is_blank(span.text):
        yield span


def _whole(match: re.Match[str]) -> Iterator[Span]:
    yield from spans_of([match], "password", "label", "value")


def _in_element(match: re.Match[str]) -> Iterator[Span]:
    if not is_blank(match["value"]):
        yield from _whole(match)


def _docker(match: re.Match[str]) -> Iterator[Span]:
    """A name and a password, with a colon between, in Base64."""
    value = match["value"]
    try:
        if b":" in b64decode(value, validate=True)[1:-1]:
            yield from _whole(match)
    except ValueError:
        return


def _card_code(match: re.Match[str]) -> Iterator[Span]:
    """The security code of a card that is spoken of nearby."""
    if _OF_A_CARD.search(match.string, max(match.start() - _NEAR, 0), match.end() + _NEAR):
        yield from _whole(match)


def _quoted(match: re.Match[str]) -> Iterator[Span]:
    """Several words in quotes, but for a prompt or a message."""
    if not is_message(match):
        yield from _whole(match)


def _password(match: re.Match[str]) -> Iterator[Span]:
    """The value after the word password, where it does not read as an ordinary word, code or a blank."""
    link, quoted = match["link"].strip(), bool(match["quote"])
    value = _bare(match["value"])
    if len(value) < 4 or is_blank(value) or is_blank(match["value"].rstrip(".,;:)")):
        return
    if is_message(match) if quoted else _is_apart(match) or is_expression(match, link):
        return
    if _is_pass(match) and link not in _FIRM and link not in ("is", "was", "reads"):
        return  # a verb: "pass verbose=1"
    firm = link in _FIRM or (quoted and link not in ("(", "[", ","))
    # "Is the passcode reset?": where no sign links them, marks at the end are the sentence's; a question's always are.
    judged = value if quoted else value.lstrip("([").rstrip("?" if firm else "?!")
    if is_blank(judged):
        return  # "(hidden)"
    ordinary = _is_ordinary(judged) and not (firm and link in ("=", "==", ":="))
    is_named = link not in _FIRM and _PATTERNS["assigned"].match(judged)
    if not ordinary and not is_named and (firm or _like_password(judged)):
        yield _cut(match, "value", "label")


def _is_apart(match: re.Match[str]) -> bool:
    """Whether nothing, or an opening bracket, joins the label to its value at once, as in `pwd.getpwuid` and
    `pass_none(func)`; scripts without spaces need none."""
    at = match.start("link")
    before = match.string[at - 1]
    return (
        before.isascii() and not match.string[at].isspace() and match["link"].strip() in ("", "(", "[", ",")
    )


def _is_pass(match: re.Match[str]) -> bool:
    return "word" in match.re.groupindex and match["word"].lower() == "pass"


def _is_ordinary(value: str) -> bool:
    """Whether a value is a word or several with hyphens, in small letters but for the first of each."""
    words = re.split("[-/']", value)
    return all(word.isalpha() and (word[1:].islower() or len(word) == 1) for word in words)


def _told(match: re.Match[str]) -> Iterator[Span]:
    """A value that looks chosen, in a sentence about it."""
    if _like_password(_bare(match["value"])):
        yield _cut(match, "value", "label")


_BY_WORD: tuple[tuple[tuple[str, ...], re.Pattern[str], Callable[[re.Match[str]], Iterator[Span]]], ...] = (
    (("key", "secret", "token", "sig", "credential"), _KEY, _key),
    (("bearer", "basic", "token"), _PATTERNS["bearer"], _key),
    (("pass", "pwd"), _PATTERNS["password"], _password),
    (("pass",), _PATTERNS["for_password"], _told),
    (("pass", "pwd"), _PATTERNS["element"], _in_element),
    (('"auth"',), _PATTERNS["docker"], _docker),
    (("pass", "pwd"), _PATTERNS["quoted_password"], _quoted),
    (("login", "log in", "log-in", "user", "credential"), _PATTERNS["login"], _told),
    (("pin",), _PATTERNS["pin"], _whole),
    (("cvv", "cvc", "security code"), _PATTERNS["card_code"], _card_code),
    (("mysql", "mariadb", "sshpass", "curl", "wget", "http"), _PATTERNS["command"], _argument),
    (("cookie",), _PATTERNS["cookie"], _key),
)
"""Words of which one stands in whatever the pattern matches, the pattern, and what is found where it does."""


def _cut(match: re.Match[str], group: str, rule: str) -> Span:
    """The span of a password, without the sentence's own marks at its end."""
    value = _bare(match[group])
    start = match.start(group)
    return Span(start, start + len(value), "password", value, rule)


def _bare(value: str) -> str:
    return value.rstrip(".,;:)]}>*")


def _like_password(value: str) -> bool:
    """Whether a word looks chosen as a password: letters mixed with digits or marks, or an odd case."""
    if len(value) < 4 or "@" in value or value.startswith(("http", "www.")):
        return False
    letters = any(map(str.isalpha, value))
    digits = any(map(str.isdigit, value))
    marks = any(letter in "!#$%^&*?~+=_" for letter in value)
    mixed = bool(re.search("[a-z][A-Z]", value))
    return letters and (digits or marks or mixed) and len(value) >= 6


def is_random(value: str) -> bool:
    """Whether a labelled value looks made by a machine: mixed characters, ENTROPY bits a character."""
    if _PATTERNS["not_random"].fullmatch(value):
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= ENTROPY and any(map(str.isdigit, value))


def _is_made(token: str) -> bool:
    """Whether a token of a known form can be a machine's: sk-xxxxxxxxxxxxxxxxxxxx, a class of a style sheet and a
    sequence of genes are none."""
    return len(set(token[-16:])) > 4 and not _WORDS.fullmatch(token)


def _issuer(token: str) -> str:
    return next(name for name, form in _FORMS.items() if form.match(token))
