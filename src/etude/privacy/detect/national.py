"""Find national identity, tax and social security numbers. python-stdnum checks their checksums.

A format that rarely occurs by chance is enough: letters at fixed positions, a date and two check
digits, fixed hyphens. Plain digits also need a label, because one in ten such numbers has a correct
check digit. Formats without a checksum need a label, because part numbers and tickets have the same
formats.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from etude.base.word_lists import read_table
from etude.privacy.spans import NO_LETTER_AFTER, NO_LETTER_BEFORE, Span, is_list_separator

_TABLE = read_table(__file__, "national.yaml")
# A label before or after the number, which is replaced by NUL
_LABEL_NEARBY = (
    r"(?i)\b(?:{0})\b[^0-9\n]{{0,40}}\n?[^\w\n]{{0,4}}\0|\0[^0-9\n.;:]{{0,12}}\b(?:{0})\b"
)


@dataclass(frozen=True, slots=True)
class NumberScheme:
    """A kind of number of one state."""

    rule: str
    """Country and name."""
    form: re.Pattern[str]
    module: str
    """Module of `stdnum` that checks the number; "" if it has no checksum."""
    label: re.Pattern[str] | None = None
    """Label that the number needs; None if its format is enough."""
    trusted_label: re.Pattern[str] | None = None
    """Label that is enough even if the checksum is wrong."""


def _build_scheme(
    rule: str, form: str, module: str = "", label: str = "", trusted: str = ""
) -> NumberScheme:
    return NumberScheme(
        rule,
        re.compile(rf"{NO_LETTER_BEFORE}(?<![.-])(?:{form})(?![.-][0-9]){NO_LETTER_AFTER}"),
        module,
        re.compile(_LABEL_NEARBY.format("|".join([label, *_TABLE["any_label"]])))
        if label
        else None,
        re.compile(_LABEL_NEARBY.format(trusted)) if trusted else None,
    )


SCHEMES = tuple(
    _build_scheme(rule, **settings)
    for group in ("lettered", "grouped", "plain")
    for rule, settings in _TABLE[group].items()
)
# Six digits close together, or the format of IN PAN. A text with neither has no such number.
_SIX_DIGITS = re.compile(r"(?:[0-9][ ./A-Z-]{0,2}){5}[0-9]|[A-Z]{5}[0-9]{4}")
# The shortest numbers have eight characters, with at most one separator between two of them.
EIGHT_CHARACTERS = re.compile("(?:[0-9A-Z][ ./+-]?){7}[0-9A-Zkx]")


def find_national_ids(text: str) -> Iterator[Span]:
    """Find the numbers of all schemes."""
    if not (_SIX_DIGITS.search(text) and EIGHT_CHARACTERS.search(text)):
        return
    for scheme in SCHEMES:
        end = -1
        rule = ""
        for match in scheme.form.finditer(text):
            list_rule = rule if rule and is_list_separator(text, end, match.start()) else ""
            rule = _find_rule(scheme, text, match, list_rule)
            end = match.end()
            if rule:
                yield Span(*match.span(), "national_id", match[0], rule)


def _find_rule(scheme: NumberScheme, text: str, match: re.Match[str], list_rule: str) -> str:
    """Return the rule by which a match is a number of this scheme; "" if it is not.

    `list_rule` is the rule of the number before it in the same list; its label applies to both.
    """
    before = text[max(match.start() - 60, 0) : match.start()]
    after = text[match.end() : match.end() + 40]
    context = f"{before}\0{after}"
    label_rule = f"{scheme.rule}, label"
    if scheme.trusted_label and (list_rule == label_rule or scheme.trusted_label.search(context)):
        return label_rule
    if scheme.label and not list_rule and not scheme.label.search(context):
        return ""
    if scheme.module and not import_module(f"stdnum.{scheme.module}").is_valid(match[0]):
        return ""
    return scheme.rule
