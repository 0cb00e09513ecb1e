"""Dates of birth, details of health and passwords that look like words, by the words around them. English; all go to
review."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.privacy.spans import Span, in_small_ascii, spans_of

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
_DATE = (
    r"(?:[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)?\.? (?:of )?{_MONTH}\.?,? ?[0-9]{{2,4}}|{_MONTH}\.? [0-9]{{1,2}}(?:st"
    rf"|nd|rd|th)?,? [0-9]{{2,4}})"
)
_BIRTH = re.compile(
    r"\b(?:born|birth ?da(?:y|te)|date of birth|d\.?o\.?b\.?)\b[^0-9\n]{0,24}?(?P<value>"
    + _DATE
    + r")(?![\w])",
    re.I,
)
CONDITION = (
    r"(?:diabet(?:es|ic)|cancer|tumou?r|leuk[a]?emia|hiv|aids|hepatitis|tuberculosis|asthma|epilep(?:sy"
    r"|tic)|stroke|heart (?:attack"
    r"|disease|failure)|hypertension|high blood pressure|depress(?:ion|ed)|anxiety|bipolar|schizophreni[ac]"
    r"|autis(?:m|tic)"
    r"|adhd|dementia|alzheimer'?s?|parkinson'?s?|arthritis|pregnan(?:t|cy)|miscarriage|abortion"
    r"|infertil(?:e|ity)|addict(?:ion|ed)"
    r"|alcoholi(?:c|sm)|anorexi[ac]|bulimi[ac]|migraines?|allerg(?:y|ies|ic)|copd|pneumonia|chemotherapy"
    r"|dialysis|insulin"
    r"|seizures?|suicid(?:e|al)|disab(?:led|ility)|wheelchair|lupus|psoriasis|eczema|anemia|anaemia|thyroid"
    r"|kidney (?:stones?|disease|failure))"
)
_PERSON = (
    r"(?:\bI(?:['’](?:m|ve)| am| have| had| was| suffer)?|\bmy|\bhe|\bshe|\bhis|\bher|\bthey"
    r"|\bthe patient|\bpatient)"
)
_HEALTH = re.compile(rf"{_PERSON}\b[^.!?\n]{{0,60}}?\b(?P<value>{CONDITION})\b", re.I)
PHRASE = re.compile(
    r"\b(?:diagnosed with|diagnosis (?:of|is|was)|suffer(?:s|ed|ing)? from|treated for|prescribed"
    r"|tested positive for"
    r"|history of|allergic to|surgery (?:for|on)|medication for|on sick leave|medical leave|therapy for"
    r"|recover(?:s|ed|ing) from)\b"
    r"(?P<value> [a-z][\w-]{2,30}(?: [a-z][\w-]{2,30}){0,3})?",
    re.I,
)
_ILLNESSES = """
diabet cancer tumo leuk hiv aids hepatitis tuberculosis asthma epilep stroke heart hypertension blood depress
anxiety bipolar schizophreni autis adhd dementia alzheimer parkinson arthritis pregnan miscarriage abortion infertil
addict alcoholi anorexi bulimi migraine allerg copd pneumonia chemotherapy dialysis insulin seizure suicid disab
wheelchair lupus psoriasis eczema anemia anaemia thyroid kidney
"""
"""One of these stands in each word for an illness."""
_STEMS = _ILLNESSES.split()
_PHRASE_STEMS = (
    *("diagnosed with", "diagnosis ", "suffer", "treated for", "prescribed", "tested positive", "history of"),
    *("allergic to", "surgery ", "medication for", "sick leave", "medical leave", "therapy for", "recover"),
)
"""The same of phrases."""
_SPOKEN = re.compile(
    r"(?<![A-Za-z])pass ?(?:word|phrase|code)s?(?: (?:for|to|of) [^\n.?!:]{1,40}?)?"
    r"[\"']?(?: ?:| (?:is|was)(?: (?:now|still|set to))?:?) {0,2}[\"'`“‘]?(?P<value>[A-Za-z]+(?:-[A-Za-z]+){0,5})"
    r"(?=[\"'`”’]?(?:[.,;!?)}\]]|\s*(?:\n|$)| (?:and|but)\b))",
    re.I,
)
_STATE = re.compile(
    r".{0,5}|.*(?:ed|ing|[ai]ble|ful|less|ive|[ae]nt|ly|ary|ous|al|ic|case|text|word|code|phrase|name|mail)"
    r"|weak(?:er)?|strong(?:er)?|longer|shorter|correct|incorrect|invalid|unsafe|secure|insecure|unclear|unknown|known"
    r"|undefined|broken|stolen|hidden|forgotten|written|taken|unique|simple|complex|random|default|missing|obsolete"
    r"|inside|below|everything|something|anything|nothing|private|secret|needed|required|whatever|identical|outdated"
    r"|mandatory|string|varchar|confirm|change|forgot|manager|policy|recovery|generator",
    re.I,
)
"""What is said of a password: "expired", "case-sensitive"."""


def birth_dates(text: str) -> Iterator[Span]:
    """Dates after the words born, date of birth, birthday or DOB."""
    yield from spans_of(_BIRTH.finditer(text), "birth_date", "label", "value")


def health_details(text: str) -> Iterator[Span]:
    """An illness said of a person, and phrases such as "diagnosed with"."""
    plain = in_small_ascii(text)  # looking for the stems takes a tenth of the time that the patterns take
    if any(map(plain.__contains__, _PHRASE_STEMS)):
        yield from spans_of(PHRASE.finditer(text), "health", "phrase")
    if any(map(plain.__contains__, _STEMS)):
        yield from spans_of(_HEALTH.finditer(text), "health", "illness of a person", "value")


def spoken_passwords(text: str) -> Iterator[Span]:
    """Words that end a clause about a password and say nothing of its state: "the password is bluemonkey"."""
    if "pass" in text.lower():
        found = (match for match in _SPOKEN.finditer(text) if not _STATE.fullmatch(match["value"]))
        yield from spans_of(found, "plain_password", "ends a clause", "value")
