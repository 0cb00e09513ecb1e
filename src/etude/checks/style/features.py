"""Features of an answer's style, such as a greeting or the format of a date.

A style has one form, which an answer has or does not have, or several forms; then it applies only
to answers with exactly one of them. The side of an answer is the number of its form.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from etude.checks.excerpts import CharSpan
from etude.checks.rows.endings import EMOJI, strip_emoji
from etude.text.lexicon import month_pattern

# Finds the first place where a text has a form; None if it does not have it
Finder = Callable[[str], CharSpan | None]
NOT_APPLICABLE = -1  # the side of an answer with no form, or with more than one
_DIGIT = re.compile(r"\d")


def _find_pattern(expression: str, flags: int = re.IGNORECASE) -> Finder:
    """Find the first match of a regular expression, which must take linear time."""
    pattern = re.compile(expression, flags)

    def find(text: str) -> CharSpan | None:
        match = pattern.search(text)
        return match.span() if match else None

    return find


def _find_question_mark(text: str) -> CharSpan | None:
    end = len(strip_emoji(text).rstrip(" \t\r\n\"'”’»)]*"))
    return (end - 1, end) if end and text[end - 1] in "?？؟" else None


@dataclass(frozen=True)
class StyleForm:
    """One form of a style, with the phrase that follows "48% of the answers" in a message."""

    phrase: str
    find: Finder


@dataclass(frozen=True)
class Style:
    """A feature of style with its forms."""

    name: str
    forms: tuple[StyleForm, ...]
    lack: str = ""
    """The phrase for answers without the form; if empty, the style does not apply to them."""
    verb: str = ""
    """A phrase that precedes the phrases of all forms."""
    has_digits: bool = False
    """Whether every form contains a digit, so that texts without one are skipped."""

    @property
    def phrases(self) -> tuple[str, ...]:
        return tuple(form.phrase for form in self.forms) + ((self.lack,) if self.lack else ())

    def find_side(self, text: str) -> int:
        """Return the side of a text as its position in `phrases`, or NOT_APPLICABLE."""
        if self.has_digits and not _DIGIT.search(text):
            return NOT_APPLICABLE
        forms = [number for number, form in enumerate(self.forms) if form.find(text)]
        if not forms and self.lack:
            return len(self.forms)
        return forms[0] if len(forms) == 1 else NOT_APPLICABLE

    def find_spans(self, text: str) -> list[CharSpan]:
        """Find the places that put a text on its side."""
        return [span for form in self.forms if (span := form.find(text))]


def _create_binary(name: str, phrase: str, find: Finder) -> Style:
    return Style(name, (StyleForm(phrase, find),), lack="do not")


def _create_forms(name: str, verb: str, *forms: tuple[str, Finder]) -> Style:
    return Style(
        name, tuple(StyleForm(phrase, find) for phrase, find in forms), verb=verb, has_digits=True
    )


_MONTH = rf"{month_pattern()}\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th|er|º|\.)?"
_SIGN = "[$€£¥₹₽₩₺₴₪฿₫₱]"
_CODE = (  # of ISO 4217
    "(?:USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|BRL|MXN|ARS|ZAR|TRY|RUB|UAH|KRW|SGD|HKD|"
    "AED|SAR|ILS|THB|IDR|PHP|VND)"
)
_SHORT = r"(?:kr|zł|Kč|Ft|lei|руб|грн)\b|[円元원]"  # after the number these count as signs
_MONEY = (
    r"(?i:euros?|dollars?|pounds "
    r"sterling|cents?|yen|yuan|rupees?|francs?|pesos?|kron(?:or|er|en)|złotych)\b"
)
_DIGITS = r"\d(?:[\d.,'’]{0,12}\d)?"
_AMOUNT = rf"(?<![\d.,]){_DIGITS}(?:[.,][-–]{{1,2}})?\s?"
# Format of a price -> its pattern. Case matters: the word "try" is not a currency.
_PRICES = {
    "sign before the number (€12)": rf"(?:{_SIGN}|\b(?:[Kk]r\.?|Rs\.?|Fr\.))\s?{_DIGITS}",
    "sign after the number (12 €)": rf"{_AMOUNT}(?:{_SIGN}(?!\s?\d)|{_SHORT})",
    "code before the number (EUR 12)": rf"\b{_CODE}\s?{_DIGITS}",
    "code after the number (12 EUR)": rf"{_AMOUNT}{_CODE}\b",
    "word after the number (12 euros)": rf"{_AMOUNT}{_MONEY}",
}

STYLES: tuple[Style, ...] = (
    _create_binary("price", "give a price", _find_pattern("|".join(_PRICES.values()), 0)),
    _create_forms(
        "price_form",
        "write prices",
        *(
            (f"with the {phrase}", _find_pattern(expression, 0))
            for phrase, expression in _PRICES.items()
        ),
    ),
    _create_binary(
        "greeting",
        "begin with a greeting",
        _find_pattern(
            r"\A\s{0,9}¡?(?:(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day)|"
            r"hallo|guten (?:tag|morgen|abend)|sehr "
            r"geehrte[rs]?|moin|servus|bonjour|bonsoir|salut|hola|buen(?:os|as) "
            r"(?:días|tardes|noches)|estimad[oa]s?|ciao|buongiorno|buonasera|salve|gentil[ei]|egregi[oa]|hoi|geachte|"
            r"goede(?:morgen|middag|navond)|olá|oi|bom dia|boa (?:tarde|noite)|prezad[oa]s?)\b|"
            r"(?:liebe[rs]?|ch(?:er|ère)s?|querid[oa]s?|car[oaie]|beste|dag)(?: "
            r"[\w.-]{2,20}){1,3}[,!])"
        ),
    ),
    _create_binary(
        "list",
        "contain a list",
        _find_pattern(
            r"^[ \t]{0,8}(?:[-*–][ \t]|[•‣◦▪●・]|\d{1,2}[.)][ \t])[ \t]{0,3}\S", re.MULTILINE
        ),
    ),
    _create_binary(
        "markdown",
        "use Markdown (bold, headings, code, tables)",
        _find_pattern(r"\*\*[^\s*]|^#{1,6} \S|^```|^\|[^|\n]{1,99}\|[^|\n]{1,99}\|", re.MULTILINE),
    ),
    _create_binary("question", "end with a question", _find_question_mark),
    _create_binary("emoji", "contain an emoji", _find_pattern(f"[{EMOJI}]")),
    _create_forms(
        "date",
        "write dates",
        ("like 2024-03-12", _find_pattern(r"\b\d{4}-\d{2}-\d{2}\b")),
        ("like 12/03/2024", _find_pattern(r"(?<![\d/])\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})(?![\w/])")),
        # A year of two digits needs day and month of two digits: 1.2.20 is a version, and 10.1.20.3
        # is an IP address.
        (
            "like 12.03.2024",
            _find_pattern(r"(?<![\w.])(?:\d{1,2}\.\d{1,2}\.\d{4}|\d\d\.\d\d\.\d\d)(?!\.?\w)"),
        ),
        ("like 12-03-2024", _find_pattern(r"\b\d{1,2}-\d{1,2}-\d{4}\b")),
        (
            "like 12 March 2024",
            _find_pattern(rf"\b{_DAY}[ -](?:of |de )?{_MONTH}[ ,-]{{1,2}}(?:del? )?\d{{2,4}}\b"),
        ),
        ("like March 12, 2024", _find_pattern(rf"\b{_MONTH} {_DAY},? \d{{4}}\b")),
    ),
)  # in the order in which they are reported
