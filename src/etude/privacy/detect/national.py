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

from etude.privacy.spans import AFTER, BEFORE, Span, listed

_ANY_LABEL = (
    r"national (?:id|identity|identification|insurance)|identity|identification|personal (?:id|number|code)|tax\w*"
    r"|\bTIN|citizen\w*|social (?:security|insurance)|(?<![A-Za-z] )(?<!-)ID(?![\"'])"
    r"|(?:my|his|her|their|your|our|an?|the|this|photo|state|government(?:['’]s)?) ID"
)
"""Labels of any state's number; an ID is one where nothing says of what, as that of an order or a row is."""

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
        re.compile(_BESIDE.format(f"{label}|{_ANY_LABEL}")) if label else None,
        re.compile(_BESIDE.format(trusted)) if trusted else None,
    )


_GB = "[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
_LETTERED = (
    _scheme("GB National Insurance", rf"{_GB} [0-9]{{2}} [0-9]{{2}} [0-9]{{2}} [A-D]"),
    _scheme(
        "GB National Insurance",
        rf"{_GB} ?[0-9]{{2}} ?[0-9]{{2}} ?[0-9]{{2}} ?[A-D]",
        label=r"NI(?: n(?:umber|o\.?))?|NINO|nat(?:ional)?\.? ins(?:urance)?",
    ),
    _scheme("IN PAN", r"[A-Z]{5}[0-9]{4}[A-Z]", "in_.pan", trusted=r"PAN|permanent account|tax\w*"),
    _scheme("ES DNI", r"[0-9]{8}-?[A-Z]", "es.dni"),
    _scheme("ES NIE", r"[XYZ]-?[0-9]{7}-?[A-Z]", "es.nie"),
    _scheme(
        "IT codice fiscale",
        r"[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]",
        "it.codicefiscale",
    ),
    _scheme("MX CURP", r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]", "mx.curp"),
    _scheme("FI henkilötunnus", r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", "fi.hetu"),
    _scheme("IE PPS", r"[0-9]{7}[A-W][A-IW]?", "ie.pps", label="PPSN?"),
)
"""Schemes with letters at fixed places."""
_GROUPED = (
    _scheme("US Social Security", r"[0-9]{3}-[0-9]{2}-[0-9]{4}"),
    _scheme("US EIN", r"[0-9]{2}-[0-9]{7}", "us.ein", label="EIN|employer|federal"),
    _scheme("IN Aadhaar", r"(?<![0-9] )[2-9][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}(?! [0-9])", "in_.aadhaar"),
    _scheme("BR CPF", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "br.cpf"),
    _scheme("CH AHV", r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}", "ch.ssn"),
    _scheme("FR NIR", r"[1-478] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", "fr.nir"),
    _scheme("SE personnummer", r"(?:[0-9]{2})?[0-9]{6}[-+][0-9]{4}", "se.personnummer"),
    _scheme("DK CPR", r"[0-9]{6}-[0-9]{4}", "dk.cpr", r"CPR\S*|personnummer"),
    _scheme("KR registration", r"[0-9]{6}-[1-8][0-9]{6}", "kr.rrn"),
    _scheme("CZ rodné číslo", r"[0-9]{6}/[0-9]{4}", "cz.rc"),
    _scheme("CZ rodné číslo", r"[0-9]{6}/[0-9]{3}", "cz.rc", "rodn[ée] č[íi]slo|RČ"),
    _scheme("BE rijksregister", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", "be.nn"),
    _scheme(
        "ZA identity",
        r"[02-9][0-9](?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{4}[01][89][0-9]",  # no time in milliseconds
        "za.idnr",
    ),
    _scheme("CN resident", r"[1-9][0-9]{5}(?:19|20)[0-9]{9}[0-9Xx]", "cn.ric"),
    _scheme("CL RUT", r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9Kk]", "cl.rut"),
    _scheme("IS kennitala", r"[0-9]{6}-[0-9]{4}", "is_.kennitala"),
)
"""Schemes whose separators, length or inner date hardly occur by chance, but for those with a label."""
_AT = r"(?:Sozial)?versicherungs(?:nummer|nr)|SVNR|SV-Nr"
_PLAIN = (
    _scheme("US Social Security", r"[0-9]{9}|[0-9]{3} [0-9]{2} [0-9]{4}", "us.ssn", "SSN|social", "SSN"),
    _scheme("GB NHS", r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", "gb.nhs", "NHS|patient", "NHS"),
    _scheme(
        "IN Aadhaar",
        r"[0-9]{12,14}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}",
        "in_.aadhaar",
        "Aa?dh?aa?r|UIDAI",
        "Aa?dh?aa?r|UIDAI",
    ),
    _scheme("DE Steuer-ID", r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", "de.idnr", r"Steuer\S*|IdNr"),
    _scheme("NL BSN", r"[0-9]{9}|[0-9]{4}\.[0-9]{2}\.[0-9]{3}", "nl.bsn", "BSN|burgerservicenummer|sofi"),
    _scheme("PL PESEL", r"[0-9]{11}", "pl.pesel", "PESEL"),
    _scheme("CA SIN", r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}", "ca.sin", "SIN|social insurance"),
    _scheme("AU TFN", r"[0-9]{3} ?[0-9]{3} ?[0-9]{2,3}", "au.tfn", "TFN|tax file"),
    _scheme("NO fødselsnummer", r"[0-9]{6} ?[0-9]{5}", "no.fodselsnummer", r"f[øo]dselsnummer|personnummer"),
    _scheme(
        "SE personnummer", r"(?:[0-9]{2})?[0-9]{10}", "se.personnummer", "personnummer|samordningsnummer"
    ),
    _scheme("DK CPR", r"[0-9]{10}", "dk.cpr", r"CPR\S*"),
    _scheme("BE rijksregister", r"[0-9]{11}", "be.nn", r"rijksregister\S*|registre national"),
    _scheme("BR CPF", r"[0-9]{11}", "br.cpf", "CPF"),
    _scheme("RO CNP", r"[1-9][0-9]{12}", "ro.cnp", "CNP"),
    _scheme("BG EGN", r"[0-9]{10}", "bg.egn", "EGN"),
    _scheme("HR OIB", r"[0-9]{11}", "hr.oib", "OIB"),
    _scheme("IL identity", r"[0-9]{9}", "il.idnr", "teudat|zehut"),
    _scheme("ZA identity", r"[0-9]{13}", "za.idnr", "RSA|SA ID"),
    _scheme("TR kimlik", r"[1-9][0-9]{10}", "tr.tckimlik", "T\\.?C\\.?|kimlik"),
    _scheme("EE isikukood", r"[1-8][0-9]{10}", "ee.ik", "isikukood"),
    _scheme("LT asmens kodas", r"[1-8][0-9]{10}", "lt.asmens", "asmens kodas"),
    _scheme("GR AMKA", r"[0-9]{11}", "gr.amka", "AMKA"),
    _scheme("AT Versicherungsnummer", r"[0-9]{4} ?[0-9]{6}", "at.vnr", _AT, _AT),
    _scheme("PT NIF", r"[0-9]{9}", "pt.nif", "NIF|contribuinte"),
    _scheme("NZ IRD", r"[0-9]{2,3}-?[0-9]{3}-?[0-9]{3}", "nz.ird", "IRD"),
    _scheme("TH identity", r"[1-8][0-9]{12}|[1-8]-[0-9]{4}-[0-9]{5}-[0-9]{2}-[0-9]", "th.pin", "Thai"),
    _scheme("ID NIK", r"[0-9]{16}", "id.nik", "NIK|KTP"),
    _scheme("MY NRIC", r"[0-9]{6}-?[0-9]{2}-?[0-9]{4}", "my.nric", "NRIC|MyKad"),
)
"""Plain runs of digits, which need a label."""
SCHEMES = (*_LETTERED, *_GROUPED, *_PLAIN)

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
