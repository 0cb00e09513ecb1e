"""Numbers by which states know a person, checked by python-stdnum where they carry a checksum.

A form that hardly occurs by chance (letters at fixed places, a date and two check digits, fixed hyphens) is
enough. Plain runs of digits need a label before them as well: of ten such runs one has the right check digit. So do
forms without a checksum that part numbers and tickets have too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from etude.base.word_lists import read_table
from etude.privacy.spans import AFTER, BEFORE, Span, listed

_TABLE = read_table(__file__, "national.yaml")
_BESIDE = r"(?i)\b(?:{0})\b[^0-9\n]{{0,40}}\n?[^\w\n]{{0,4}}\0|\0[^0-9\n.;:]{{0,12}}\b(?:{0})\b"
"""A label before or after the number, for which NUL stands."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One state's number: what it looks like, what checks it, and whether it needs a label."""

    rule: str
    """Country and name."""
    form: re.Pattern[str]
    module: str
    """Name below `stdnum`; empty where the number has no checksum and the form is all there is."""
    label: re.Pattern[str] | None = None
    """What must stand beside it; None where the form is enough."""
    trusted_label: re.Pattern[str] | None = None
    """A label that is enough even where the check fails."""


def _scheme(rule: str, form: str, module: str = "", label: str = "", trusted: str = "") -> Scheme:
    return Scheme(
        rule,
        re.compile(rf"{BEFORE}(?<![.-])(?:{form})(?![.-][0-9]){AFTER}"),
        module,
        re.compile(_BESIDE.format("|".join([label, *_TABLE["any_label"]]))) if label else None,
        re.compile(_BESIDE.format(trusted)) if trusted else None,
    )


SCHEMES = tuple(
    _scheme(rule, **parts)
    for group in ("lettered", "grouped", "plain")
    for rule, parts in _TABLE[group].items()
)
_HINT = re.compile(r"(?:[0-9][ ./A-Z-]{0,2}){5}[0-9]|[A-Z]{5}[0-9]{4}")
"""Six digits with little between them, or the form of IN PAN: without either a text holds no such number."""


def national_ids(text: str) -> Iterator[Span]:
    """National identity, tax and social security numbers of the schemes above."""
    if not _HINT.search(text):
        return
    for scheme in SCHEMES:
        end, rule = -1, ""
        for match in scheme.form.finditer(text):
            named = rule if rule and listed(text, end, match.start()) else ""
            rule, end = _rule(scheme, text, match, named), match.end()
            if rule:
                yield Span(*match.span(), "national_id", match[0], rule)


def _rule(scheme: Scheme, text: str, match: re.Match[str], named: str) -> str:
    """Why a match is this scheme's number; empty where it is not. `named`: the rule of the one it is listed with."""
    around = f"{text[max(match.start() - 60, 0) : match.start()]}\0{text[match.end() : match.end() + 40]}"
    trusted = f"{scheme.rule}, label"
    if scheme.trusted_label and (named == trusted or scheme.trusted_label.search(around)):
        return trusted
    if scheme.label and not named and not scheme.label.search(around):
        return ""
    if scheme.module and not _valid(scheme.module, match[0]):
        return ""
    return scheme.rule


def _valid(module: str, number: str) -> bool:
    return bool(import_module(f"stdnum.{module}").is_valid(number))
