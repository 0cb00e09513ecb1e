"""What a person would name about an answer's style, and on which side an answer stands.

A style has one form, which an answer has or has not, or several, of which an answer holds exactly one or gives no
occasion.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from etude.checks.material import Mark
from etude.checks.rows.endings import EMOJI, without_emoji
from etude.text.months import month_pattern

Find = Callable[[str], Mark | None]
"""Where a text shows a form, the first place; None where it does not."""
NO_OCCASION = -1
"""Side of an answer that shows no form, or more than one."""
_DIGIT = re.compile(r"\d")


def pattern(expression: str, flags: int = re.IGNORECASE) -> Find:
    """The first match of a regular expression, which must take linear time."""
    compiled = re.compile(expression, flags)

    def find(text: str) -> Mark | None:
        match = compiled.search(text)
        return match.span() if match else None

    return find


def last_mark(accepted: str) -> Find:
    """The last character, emoji, closing quotes and brackets apart, where it is one of these."""

    def find(text: str) -> Mark | None:
        end = len(without_emoji(text).rstrip(" \t\r\n\"'”’»)]*"))
        return (end - 1, end) if end and text[end - 1] in accepted else None

    return find


@dataclass(frozen=True)
class Form:
    """One way to write, and how it is said of answers, after "48% of the answers"."""

    said: str
    find: Find


@dataclass(frozen=True)
class Style:
    """A feature of style with its forms."""

    name: str
    forms: tuple[Form, ...]
    lack: str = ""
    """What is said of answers without the form; where empty, they give no occasion."""
    verb: str = ""
    """What is said once, before the forms."""
    digits: bool = False
    """Whether every form holds a digit, so that texts without any are passed over."""

    @property
    def said(self) -> tuple[str, ...]:
        """What is said of each side."""
        return tuple(form.said for form in self.forms) + ((self.lack,) if self.lack else ())

    def side(self, text: str) -> int:
        """Position in `said` of the side on which a text stands, or NO_OCCASION."""
        if self.digits and not _DIGIT.search(text):
            return NO_OCCASION
        shown = [place for place, form in enumerate(self.forms) if form.find(text)]
        if not shown and self.lack:
            return len(self.forms)
        return shown[0] if len(shown) == 1 else NO_OCCASION

    def marks(self, text: str) -> list[Mark]:
        """The places by which a text stands on its side."""
        return [place for form in self.forms if (place := form.find(text))]


def _one(name: str, have: str, find: Find, lack: str = "do not") -> Style:
    return Style(name, (Form(have, find),), lack)


def _forms(name: str, verb: str, *forms: tuple[str, Find], digits: bool = False) -> Style:
    return Style(name, tuple(Form(said, find) for said, find in forms), verb=verb, digits=digits)


_MONTH = rf"{month_pattern()}\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th|er|º|\.)?"

_SIGN = "[$€£¥₹₽₩₺₴₪฿₫₱]"
_CODE = (
    "(?:USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|BRL|MXN|ARS|ZAR|TRY|RUB|UAH|KRW|SGD|HKD|"
    "AED|SAR|ILS|THB|IDR|PHP|VND)"
)
"""ISO 4217."""
_SHORT = r"(?:kr|zł|Kč|Ft|lei|руб|грн)\b|[円元원]"
"""Written behind the number, as signs are there."""
_MONEY = (
    r"(?i:euros?|dollars?|pounds sterling|cents?|yen|yuan|rupees?|francs?|pesos?|kron(?:or|er|en)|złotych)\b"
)
_DIGITS = r"\d(?:[\d.,'’]{0,12}\d)?"
_AMOUNT = rf"(?<![\d.,]){_DIGITS}(?:[.,][-–]{{1,2}})?\s?"
_PRICES = {
    "sign before the number (€12)": rf"(?:{_SIGN}|\b(?:[Kk]r\.?|Rs\.?|Fr\.))\s?{_DIGITS}",
    "sign behind the number (12 €)": rf"{_AMOUNT}(?:{_SIGN}(?!\s?\d)|{_SHORT})",
    "code before the number (EUR 12)": rf"\b{_CODE}\s?{_DIGITS}",
    "code behind the number (12 EUR)": rf"{_AMOUNT}{_CODE}\b",
    "word behind the number (12 euros)": rf"{_AMOUNT}{_MONEY}",
}
"""How a price is written -> what it looks like, in its own case: a word such as "try" is no currency."""

STYLES: tuple[Style, ...] = (
    _one("price", "give a price", pattern("|".join(_PRICES.values()), 0)),
    _forms(
        "price_form",
        "write prices",
        *((f"with the {said}", pattern(expression, 0)) for said, expression in _PRICES.items()),
        digits=True,
    ),
    _one(
        "greeting",
        "begin with a greeting",
        pattern(
            r"\A\s{0,9}¡?(?:(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day)|"
            r"hallo|guten (?:tag|morgen|abend)|sehr geehrte[rs]?|moin|servus|bonjour|bonsoir|salut|hola|buen(?:os|as) "
            r"(?:días|tardes|noches)|estimad[oa]s?|ciao|buongiorno|buonasera|salve|gentil[ei]|egregi[oa]|hoi|geachte|"
            r"goede(?:morgen|middag|navond)|olá|oi|bom dia|boa (?:tarde|noite)|prezad[oa]s?)\b|"
            r"(?:liebe[rs]?|ch(?:er|ère)s?|querid[oa]s?|car[oaie]|beste|dag)(?: [\w.-]{2,20}){1,3}[,!])"
        ),
    ),
    _one(
        "list",
        "hold a list",
        pattern(r"^[ \t]{0,8}(?:[-*–][ \t]|[•‣◦▪●・]|\d{1,2}[.)][ \t])[ \t]{0,3}\S", re.MULTILINE),
    ),
    _one(
        "markdown",
        "are set in Markdown (bold, headings, code, tables)",
        pattern(r"\*\*[^\s*]|^#{1,6} \S|^```|^\|[^|\n]{1,99}\|[^|\n]{1,99}\|", re.MULTILINE),
    ),
    _one("question", "end with a question", last_mark("?？؟")),
    _one("emoji", "hold an emoji", pattern(f"[{EMOJI}]")),
    _forms(
        "date",
        "write dates",
        ("like 2024-03-12", pattern(r"\b\d{4}-\d{2}-\d{2}\b")),
        ("like 12/03/2024", pattern(r"(?<![\d/])\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})(?![\w/])")),
        # Of two digits for the year only with two for day and month: 1.2.20 is a version, and 10.1.20.3 an address.
        ("like 12.03.2024", pattern(r"(?<![\w.])(?:\d{1,2}\.\d{1,2}\.\d{4}|\d\d\.\d\d\.\d\d)(?!\.?\w)")),
        ("like 12-03-2024", pattern(r"\b\d{1,2}-\d{1,2}-\d{4}\b")),
        (
            "like 12 March 2024",
            pattern(rf"\b{_DAY}[ -](?:of |de )?{_MONTH}[ ,-]{{1,2}}(?:del? )?\d{{2,4}}\b"),
        ),
        ("like March 12, 2024", pattern(rf"\b{_MONTH} {_DAY},? \d{{4}}\b")),
        digits=True,
    ),
)
"""In the order in which they are reported."""
