"""What a person would name about an answer's style, and on which side an answer stands.

A style has one form, which an answer has or has not, or several, of which an answer holds exactly one or gives no
occasion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from etude.checks.material import Mark
from etude.checks.rows.endings import EMOJI
from etude.checks.style.finders import (
    Find,
    any_of,
    either,
    first_letter,
    last_mark,
    near_the_end,
    pattern,
    sentence_end,
    with_words,
)
from etude.text.lexicon import AMERICAN, BRITISH, EXCITED, words
from etude.text.months import full_months

NO_OCCASION = -1
"""Side of an answer that shows no form, or more than one."""
_DIGIT = re.compile(r"\d")


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


GREETED = frozenset(["English", "German", "French", "Spanish", "Italian", "Dutch", "Portuguese"])
"""Languages whose greetings and wishes are known."""
_CLOSING = with_words(
    words(
        "grüssen grüsse mfg schönen schönes fragen hilft wiedersehen bald "
        "cordialement bien journée soirée salutations hésitez bientôt questions espère "
        "saludo saludos atentamente tengas tenga dudes dude espero preguntas pronto "
        "saluti saluto giornata serata esitare esiti presto disposizione spero domande "
        "groet groeten fijne prettige aarzel ziens gauw weten hoop vragen "
        "atenciosamente cumprimentos abraço abraços hesite breve logo dúvidas perguntas"
    ),
    near_the_end(
        pattern(
            r"\b(?:mit freundlichen gr(?:ü|ue)(?:ß|ss)en|"
            r"(?:freundliche|viele|liebe|beste|herzliche|schöne) grü(?:ß|ss)e|mfg|schönen (?:tag|abend)|"
            r"schönes wochenende|weitere fragen|(?:das|dies|es) hilft|auf wiedersehen|bis bald|"
            r"cordialement|bien à vous|(?:bonne|belle) (?:journée|soirée)|(?:sincères|meilleures) salutations|"
            r"n['’]hésitez pas|à bientôt|d['’]autres questions|j['’]espère que (?:cela|ça)|"
            r"saludos?|atentamente|que tengas? (?:un )?buen|no dudes? en|espero que (?:esto|te|le|isso|isto)|"
            r"(?:más|otras) preguntas|hasta pronto|"
            r"(?:cordiali|distinti|cari) saluti|caro saluto|buona (?:giornata|serata)|non esit(?:are|i)|a presto|"
            r"(?:tua|sua) disposizione|spero che|altre domande|"
            r"(?:vriendelijke|hartelijke) groet(?:en)?|(?:fijne|prettige) (?:dag|avond)|aarzel niet|tot (?:ziens|gauw)|"
            r"laat het (?:me|ons) weten|hoop dat (?:dit|het) helpt|(?:andere|verdere) vragen|"
            r"atenciosamente|cumprimentos|abraços?|não hesite|até (?:logo|breve)|outras (?:dúvidas|perguntas))\b"
        )
    ),
)
"""Wishes and offers at the end in German, French, Spanish, Italian, Dutch and Portuguese."""
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_ANY_MONTH = rf"(?:{_MONTH}|{'|'.join(sorted(full_months()))})"
"""In a dozen languages, for dates with the day first."""
_SHORT_MONTH = r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th|er|º|\.)?"
_LATE = r"(?:1[3-9]|2\d|3[01])"
_EARLY = r"(?:0?[1-9]|1[0-2])"

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


_PLAIN_NUMBER = re.compile(r"(?<![\w.,#/-])[1-9]\d{4,8}(?![\w/-])")
_NUMBERED = re.compile(
    r"(?:\b(?:number|no|num|code|order|ticket|case|invoice|room|zip|id|ref|reference|account|pin|phone|call|box)"
    rf"\W{{0,3}}|\b(?-i:(?!{_CODE})[A-Z]{{2,5}})\W{{0,3}})\Z",
    re.IGNORECASE,
)
"""What stands before a number that counts nothing."""


def plain_number(text: str) -> Mark | None:
    """A number from 10,000 on without marks that is no order, code or address: behind no such word and no NY."""
    found = (
        match
        for match in _PLAIN_NUMBER.finditer(text)
        if not _NUMBERED.search(text, max(match.start() - 20, 0), match.start())
    )
    return next((match.span() for match in found), None)


def _decimals(mark: str) -> str:
    """Prices whose last two digits stand behind this mark."""
    amount = rf"\d[\d.,'’]{{0,12}}{mark}\d\d(?![\d.,]\d|\d)"
    return rf"(?:{_SIGN}|\b{_CODE})\s?{amount}|(?<![\d.,]){amount}\s?(?:{_SIGN}|{_CODE}\b|{_SHORT}|{_MONEY})"


STYLES: tuple[Style, ...] = (
    _one("price", "give a price", pattern("|".join(_PRICES.values()), 0)),
    _forms(
        "price_form",
        "write prices",
        *((f"with the {said}", pattern(expression, 0)) for said, expression in _PRICES.items()),
        digits=True,
    ),
    _forms(
        "price_decimals",
        "write prices",
        ("with a decimal point (12.50)", pattern(_decimals(r"\."), 0)),
        ("with a decimal comma (12,50)", pattern(_decimals(","), 0)),
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
        "lead_in",
        "begin with words such as “Sure” or “Thanks for”",
        pattern(
            r"\A\s{0,9}(?:sure|certainly|of course|absolutely|no problem|(?:great|good) question|"
            r"(?:I'd|I would|I'll|I will) be (?:happy|glad)|happy to help|thanks? (?:you )?for|"
            r"natürlich|gern|gerne|selbstverständlich|gute frage|kein problem|(?:vielen )?dank(?:e)? für|bien sûr|"
            r"certainement|avec plaisir|(?:bonne|excellente) question|merci (?:pour|de)|claro|por supuesto|con gusto|"
            r"buena pregunta|gracias por|certo|certamente|volentieri|(?:buona|ottima) domanda|grazie per|natuurlijk|"
            r"zeker|graag|goede vraag|bedankt voor|com certeza|com prazer|boa pergunta|obrigad[oa] (?:por|pel\w))\b"
        ),
    ),
    _one(
        "closing",
        "end with a wish or an offer of help",
        either(
            near_the_end(
                pattern(
                    r"\b(?:let (?:me|us) know|hope (?:this|that|it) helps|feel free to|"
                    r"(?:kind|best|warm)(?:est)? (?:regards|wishes)|all the best|many thanks|"
                    r"thanks(?: again)?(?=,?\s*\n)|"
                    r"sincerely|yours (?:truly|faithfully)|have a (?:great|nice|good|lovely|wonderful) \w{1,12}|"
                    r"any (?:other|further|more) questions|(?:happy|glad) to help|cheers)\b"
                )
            ),
            _CLOSING,
        ),
    ),
    _one(
        "list",
        "hold a list",
        pattern(r"^[ \t]{0,8}(?:[-*–][ \t]|[•‣◦▪●・]|\d{1,2}[.)][ \t])[ \t]{0,3}\S", re.MULTILINE),
    ),
    _forms(
        "list_mark",
        "begin the items of a list",
        ("with a dash", pattern(r"^[ \t]{0,8}[-–][ \t]{1,4}\S", re.MULTILINE)),
        ("with a star", pattern(r"^[ \t]{0,8}\*[ \t]{1,4}\S", re.MULTILINE)),
        ("with a dot", pattern(r"^[ \t]{0,8}[•‣◦▪●・][ \t]{0,4}\S", re.MULTILINE)),
    ),
    _one(
        "markdown",
        "are set in Markdown (bold, headings, code, tables)",
        pattern(r"\*\*[^\s*]|^#{1,6} \S|^```|^\|[^|\n]{1,99}\|[^|\n]{1,99}\|", re.MULTILINE),
    ),
    _one("question", "end with a question", last_mark("?？؟")),
    _one("exclamation", "end with an exclamation mark", last_mark("!！")),
    _forms(
        "end_mark",
        "end",
        ("with a full stop or another mark", sentence_end(marked=True)),
        ("without one", sentence_end(marked=False)),
    ),
    _forms(
        "capital",
        "begin",
        ("with a capital letter", first_letter(str.isupper)),
        ("with a small letter", first_letter(str.islower)),
    ),
    _one("emoji", "hold an emoji", pattern(f"[{EMOJI}]")),
    _one("excited", "sound excited (wonderful, amazing)", any_of(EXCITED)),
    _one("link", "give a link", pattern(r"\bhttps?://|\bwww\.\w")),
    _forms(
        "date",
        "write dates",
        ("like 2024-03-12", pattern(r"\b\d{4}-\d{2}-\d{2}\b")),
        ("like 12/03/2024", pattern(r"(?<![\d/])\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})(?![\w/])")),
        # Of two digits for the year only with two for day and month: 1.2.20 is a version, and 10.1.20.3 an address.
        ("like 12.03.2024", pattern(r"(?<![\w.])(?:\d{1,2}\.\d{1,2}\.\d{4}|\d\d\.\d\d\.\d\d)(?!\.?\w)")),
        ("like 12-03-2024", pattern(r"\b\d{1,2}-\d{1,2}-\d{4}\b")),
        ("like 12 March 2024", pattern(rf"\b{_DAY} (?:of |de )?{_ANY_MONTH},? (?:del? )?\d{{4}}\b")),
        ("like March 12, 2024", pattern(rf"\b{_MONTH} {_DAY},? \d{{4}}\b")),
        ("like 12 Mar 2024", pattern(rf"\b{_DAY}[ -]{_SHORT_MONTH}[ ,-]{{1,2}}\d{{2,4}}\b")),
        ("like Mar 12, 2024", pattern(rf"\b{_SHORT_MONTH} {_DAY},? \d{{4}}\b")),
        digits=True,
    ),
    _forms(
        "date_order",
        "write a date",
        ("with the day first (25/12/2024)", pattern(rf"\b{_LATE}[/.]{_EARLY}[/.]\d{{2,4}}\b")),
        ("with the month first (12/25/2024)", pattern(rf"\b{_EARLY}[/.]{_LATE}[/.]\d{{2,4}}\b")),
        digits=True,
    ),
    _forms(
        "clock",
        "write times",
        ("like 5:30 pm", pattern(r"\b\d{1,2}(?:[:.]\d{2})?\s?[ap]\.?m\b")),
        ("like 17:30", pattern(r"\b(?:0\d|1[3-9]|2[0-3]):[0-5]\d\b(?!\s?[ap]\.?m)")),
        digits=True,
    ),
    _forms(
        "thousands",
        "write large numbers",
        ("like 25,000", pattern(r"(?<![\w.,])\d{1,3}(?:,\d{3}){1,6}(?!\w|,\d)")),
        ("like 25000", plain_number),
        ("like 25 000", pattern(r"(?<![\w.,] )(?<![\w.,])\d{1,3}(?:[ \u00a0\u202f]\d{3}){1,6}(?![\w.,])")),
        ("like 2.500.000", pattern(r"(?<![\w.,])\d{1,3}(?:\.\d{3}){2,6}(?![\w.])")),
        digits=True,
    ),
    _forms(
        "percent",
        "write shares",
        ("with the sign %", pattern(r"\d\s?%")),
        ("with the word percent", pattern(r"\d\s?per ?cent\b")),
        digits=True,
    ),
    _forms(
        "units",
        "measure",
        (
            "in metric units (km, kg, °C)",
            pattern(
                r"\d\s?(?:km|kilomet(?:er|re)s?|cm|centimet(?:er|re)s?|mm|met(?:er|re)s|kg|kilograms?|lit(?:er|re)s?|"
                r"°\s?C|degrees Celsius)\b"
            ),
        ),
        (
            "in imperial units (miles, pounds, °F)",
            pattern(
                r"\d\s?(?:miles?|feet|foot|ft|inch(?:es)?|yards?|pounds|lbs?|oz|ounces?|gallons?|°\s?F|"
                r"degrees Fahrenheit)\b"
            ),
        ),
        digits=True,
    ),
    _forms(
        "quotes",
        "quote",
        ('with "straight" marks', pattern(r'"[^"\n]{1,200}"')),
        ("with “curly” marks", pattern(r"“[^”\n]{1,200}”")),
        ("with «pointed» marks", pattern(r"«[^»\n]{1,200}»")),
        ("with „low“ marks", pattern(r"„[^“\n]{1,200}“")),
    ),
    _forms(
        "spelling",
        "are spelled",
        ("the British way (colour)", any_of(BRITISH)),
        ("the American way (color)", any_of(AMERICAN)),
    ),
)
"""In the order in which they are told."""
