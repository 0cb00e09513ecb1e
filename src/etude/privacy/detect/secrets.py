"""Passwords, keys and tokens: the forms their issuers document, those of detect-secrets, and labelled values.

Every pattern starts at the edge of a token and is bounded, so that a long text costs time in proportion to
its length. The patterns of detect-secrets run over windows of at most WINDOW characters around long tokens.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

from etude.base.word_lists import read_table
from etude.privacy.detect.no_secret import is_blank, is_call, is_expression, is_message
from etude.privacy.detect.value_labels import LINKS, label_pattern, may_hold
from etude.privacy.spans import UNSPACED, Span, in_small_ascii, labelled, spans_of

WINDOW = 512
"""Most characters that one pattern of detect-secrets is given at once."""
ENTROPY = 3.0
"""Bits a character from which a labelled value counts as random."""

_FORMS: dict[str, re.Pattern[str]] = {
    issuer: re.compile("|".join(forms))
    for issuer, forms in read_table(__file__, "secrets.yaml")["forms"].items()
}
_FORM = re.compile(
    rf"(?<![A-Za-z0-9_-])(?:{'|'.join(f'(?:{form.pattern})' for form in _FORMS.values())})(?![A-Za-z0-9_])"
)
LONG = 20
"""Characters from which on a token may be a key."""
_LONG = re.compile(rf"(?<![^\s\"'`<>(=:,;])[^\s\"'`<>(,;]{{{LONG}}}")
"""Such a token begins here: without one a text holds no key."""
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]|-(?!----)){0,20000}(?:-----END (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?"
)
_PUTTY = re.compile(r"PuTTY-User-Key-File-[23]:[^\0]{0,4000}?Private-MAC: ?[a-f0-9]{16,128}")
_URL = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/?#@]{0,64}:(?P<value>[^\s/@]{3,128})@[\w.-]{1,253}", re.I
)
_WEBHOOK = re.compile(
    r"https://(?:hooks\.slack\.com/(?:services|workflows)/[\w/-]{20,120}"
    r"|(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/[0-9]{10,25}/[\w-]{20,100}"
    r"|[\w.-]{1,80}\.webhook\.office\.com/webhookb2/[\w@/-]{40,300})"
)
_BEARER = re.compile(
    r"\b(?:bearer|basic|token) +(?P<value>[A-Za-z0-9+/_.~-]{20,2000}={0,2})(?![\w+/=])", re.I
)
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:[\w.-]{0,24}[_. -])?(?:api[_. -]?key|access[_. -]?key|secret[_. -]?(?:access[_. -]?)?key"
    r"|account[_. -]?key|private[_. -]?key|signing[_. -]?key|encryption[_. -]?key|client[_. -]?secret|auth[_. -]?token"
    r"|access[_. -]?token|refresh[_. -]?token|bot[_. -]?token|secret|token|sig|credential)s?[\"'\]]{0,2}"
    r"(?: {0,2}(?:=>|:=|==?|:|\bis\b(?: now)?|\bwas\b|\bto\b)) {0,2}[\"'`]?(?P<value>[A-Za-z0-9+/_.~%-]{12,512}={0,2})"
    r"(?![\w+/=])",
    re.I,
)
_PASSWORD = re.compile(
    r"(?:(?<![A-Za-z])(?:[\w-]{0,24}[_-])?|(?<=\bPG)|(?-i:(?<=[a-z])(?=P)))"
    r"(?P<word>pass ?(?:word|phrase|code)|passwd|pwd|pass)s?"
    r"(?:_?[0-9]{1,2}|[_-](?:prod|production|dev|stag(?:e|ing)|test|old|new|main|admin|root|db|value))?(?![A-Za-z0-9_])"
    r"[\"'\]]{0,2}"
    r"(?P<link>(?: {0,2}(?:=>|:=|==?|[:(\[]|->|,)| {1,2}(?:is|was|were|as|to|of|attempt string revealed|reads?))?"
    r"(?: {0,2}(?:currently|still|now|set to))? {0,2}[:=]?) {0,2}(?P<quote>[\"'`“‘*]?)(?P<value>[^\s\"'`”’]{4,128})",
    re.I,
)
_NAMED_PASSWORD = re.compile(
    rf"(?<![A-Za-z]){label_pattern('passwords')}(?![a-z0-9_])(?P<link>(?:[ \t]{{0,2}}(?:{LINKS})){{0,3}})[ \t]{{0,2}}"
    rf"(?P<quote>[\"'`“‘*]?)(?P<value>[^\s\"'`”’，：！-｠{UNSPACED}]{{4,128}})",
    re.I,
)
_FOR_PASSWORD = re.compile(
    r"(?<![A-Za-z])pass(?:word|phrase|code)s? (?:for|to|of) [^\n.?!:]{1,40}? (?:is|was|are):? [\"'`“‘]?"
    r"(?P<value>[^\s\"'`”’]{4,128})",
    re.I,
)
_QUOTED_PASSWORD = re.compile(
    r"(?<![A-Za-z])(?:[\w-]{0,24}[_-])?(?:pass(?:word|phrase|code)?|passwd|pwd)s? ?= ?"
    r"(?P<quote>[\"'])(?P<value>[^\s\"']{1,32}(?: [^\s\"']{1,32}){1,8})(?P=quote)",
    re.I,
)
_LOGIN = re.compile(
    r"\b(?:log[- ]?in|user(?:name)?|credentials?)\b(?: is|:)? \S{2,40} / (?P<value>\S{6,64})", re.I
)
_PIN = re.compile(
    r"\bPIN(?: (?:number|code(?! [1-9][0-9]{5}\b)))?(?: is| was|:|=| of)? ?(?P<value>[0-9]{4,8})(?![\w]|[.,/:-][0-9])",
    re.I,
)
"""But for `PIN code 560001`, a postal code of India."""
_CARD_CODE = re.compile(
    r"\b(?:CVV2?|CVC2?|security code)(?: (?:code|number|no\.?|nr\.?))?(?: is| was| ist| est| es)?[:=]? ?"
    r"(?P<value>[0-9]{3,4})(?![\w]|[.,/:-][0-9])",
    re.I,
)
"""The digits on the back of a card, with which it can be used by whoever knows its number."""
_OF_A_CARD = re.compile(
    r"\b(?:card|credit|debit|visa|mastercard|amex|maestro|payment|pay|exp(?:iry|ir\w+)?|karten?|kreditkarten?|carte|tarjeta"
    r"|carta|cart[aã]o|kaart)\b|(?:[0-9][ -]?){12}",
    re.I,
)
"""What stands near a security code of a card; elsewhere `CVC` is a catheter and `CVV` the name of a fault."""
_NEAR = 100
"""Characters before and after."""
_CREDENTIALS = re.compile(
    r"(?<=[\w'-])@[\w.-]{3,80}(?:[\"'] ?[/:] ?[\"']?| ?[/|:] |:(?![0-9]{2,5}/))(?P<value>[^\s\"'`,;|{}\[\]()<>]{6,64})"
    r"(?=[\"'.,;)]{0,3}(?:\s|$))(?!\s{0,3}\|)"
)
"""`mail@host / password`, `mail@host:password`: the last of what stands there, and no part of a table or of JSON."""
_LISTED_LOGIN = re.compile(
    r"\b(?:log[- ]?ins?|credentials?|sign(?:ed)?[- ]in|user(?:name)?s?)\b[^\n@]{0,60}[\"'][^\s\"'@]{1,64}"
    r"@[\w.-]{3,80}[\"'],? (?:and )?[\"']?(?P<value>[^\s\"'`,;|{}\[\]()<>]{6,64})",
    re.I,
)
_COMMAND = re.compile(
    r"\b(?:mysql(?:dump|admin)?|mariadb)\b[^\n|;]{0,80}? -p[\"']?(?P<value>[^\s\"'-][^\s\"']{3,64})"
    r"|\bsshpass -p ?[\"']?(?P<ssh>[^\s\"']{4,64})"
    r"|\b(?:curl|wget|http)\b[^\n|;]{0,80}? (?:-u|--user) ?[\"']?[^\s:\"']{1,64}:(?P<user>[^\s\"']{4,64})"
)
"""A password among the arguments of a command."""
_COOKIE = re.compile(
    r"\b(?:set-)?cookie[\"']?:[^\n]{0,200}?(?<![\w-])[\w.-]{0,24}(?:sess(?:ion)?|sid|auth|token|jwt)[\w.-]{0,8}="
    r"(?P<value>[A-Za-z0-9+/_.~%-]{12,512}={0,2})",
    re.I,
)
_FIRM = ("=", ":", "：", ":=", "==", "=>")
"""Between a label and a value that is meant, whatever it looks like."""
_ASSIGNED = re.compile(r"[A-Za-z_][\w.-]*=|_?[a-z]+(?:_[a-z]+)+$|_[a-z]+$")
"""An argument or a name of code, where nothing says that it is the password."""
_NO_MAILBOX = re.compile(r"://[^\s@]{0,128}$|\bgit$")
"""What stands before an @ that no e-mail address has: a URL's user, and git@host:path."""
_NOT_RANDOM = re.compile(
    r"[a-z]{1,30}|[A-Z][a-z]{1,30}|[A-Z]{1,12}|[a-z]+[0-9]?(?:[_.-][a-z]+[0-9]?)+|[A-Z]+(?:[_.-][A-Z]+)+|[0-9.,]+"
)


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
        yield from spans_of(_PEM.finditer(text), "private_key", "PEM")
    if "PuTTY" in text:
        yield from spans_of(_PUTTY.finditer(text), "private_key", "PuTTY")
    for match in _FORM.finditer(text):
        if _is_made(match[0]):
            yield Span(*match.span(), "api_key", match[0], f"form: {_issuer(match[0])}")
    if "https://" in text:
        yield from spans_of(_WEBHOOK.finditer(text), "api_key", "webhook")
    for window, start in _windows(text):
        yield from _detect_secrets(window, start)


def _named(text: str) -> Iterator[Span]:
    """What a word before it, or its place in an address, gives away.

    Looking for the words first takes a seventh of the time that the patterns take.
    """
    plain = in_small_ascii(text)
    if "://" in text:
        in_urls = (match for match in _URL.finditer(text) if not is_blank(match["value"]))
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
    for pattern in (_CREDENTIALS, _LISTED_LOGIN):
        for match in pattern.finditer(text):
            in_url = pattern is _CREDENTIALS and labelled(text, match.start(), _NO_MAILBOX, 160)
            if not in_url and _like_password(_bare(match["value"])):
                yield _cut(match, "value", "after an e-mail address")


def _key(match: re.Match[str]) -> Iterator[Span]:
    """A value that a machine has made, and no code."""
    if is_random(match["value"]) and not is_call(match):
        yield Span(*match.span("value"), "api_key", match["value"], "label")


def _argument(match: re.Match[str]) -> Iterator[Span]:
    """The password of a command, where it is no variable and no word for one."""
    span = _cut(match, match.lastgroup or "value", "argument of a command")
    if len(span.text) >= 4 and not is_blank(span.text):
        yield span


def _whole(match: re.Match[str]) -> Iterator[Span]:
    """The value as it stands there."""
    yield from spans_of([match], "password", "label", "value")


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
    is_named = link not in _FIRM and _ASSIGNED.match(judged)
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
    (("bearer", "basic", "token"), _BEARER, _key),
    (("pass", "pwd"), _PASSWORD, _password),
    (("pass",), _FOR_PASSWORD, _told),
    (("pass", "pwd"), _QUOTED_PASSWORD, _quoted),
    (("login", "log in", "log-in", "user", "credential"), _LOGIN, _told),
    (("pin",), _PIN, _whole),
    (("cvv", "cvc", "security code"), _CARD_CODE, _card_code),
    (("mysql", "mariadb", "sshpass", "curl", "wget", "http"), _COMMAND, _argument),
    (("cookie",), _COOKIE, _key),
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
    if _NOT_RANDOM.fullmatch(value):
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


def _windows(text: str) -> Iterator[tuple[str, int]]:
    """Pieces of at most WINDOW characters that hold the long tokens, with where they start."""
    end = 0
    for match in _LONG.finditer(text):
        if match.end() > end or not end:
            start = max(match.start() - 64, 0, end - 128)
            end = start + WINDOW
            yield text[start:end], start


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The forms of detect-secrets that say what they found without a guess at its randomness."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    skipped = {
        "Public IP (ipv4)",
        "Private Key",
        "Artifactory Credentials",
        "JSON Web Token",
        "Basic Auth Credentials",
    }
    plugins = get_mapping_from_secret_type_to_class()
    return tuple(
        (name, pattern)
        for name, plugin in sorted(plugins.items())
        if issubclass(plugin, RegexBasedDetector) and name not in skipped
        for pattern in plugin.denylist
    )


def _detect_secrets(window: str, start: int) -> Iterator[Span]:
    for name, pattern in _patterns():
        for match in pattern.finditer(window):
            group = match.lastindex or 0
            text = match[group] or match[0]
            place = match.start(group) if match[group] else match.start()
            if _is_made(text):
                yield Span(
                    start + place, start + place + len(text), "api_key", text, f"detect-secrets: {name}"
                )
