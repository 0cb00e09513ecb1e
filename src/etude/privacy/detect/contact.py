"""E-mail addresses and IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from etude.privacy.spans import AFTER, BEFORE, UNSPACED, Span, labelled, spans_of

_EMAIL = re.compile(
    r"(?<![\w.+%@-])\w[\w.+%'-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_FILE = re.compile(r"\.(?:png|jpe?g|gif|webp|svg|ico|bmp|tiff?|css|js|json|html?|xml|ya?ml|txt|pdf)$", re.I)
"""Ends of files, `icon@2x.png`, none of them a domain."""
_UPI = re.compile(
    r"(?<![\w.-])[\w.-]{2,64}@(?:oksbi|okaxis|okhdfcbank|okicici|ybl|ibl|axl|upi|paytm|apl|sbi)(?![\w.-])",
    re.I,
)
"""Payment addresses of India's UPI: the handles of its largest providers."""
_AWAY = re.compile(
    r"(?<![\w.+-])\w[\w.+-]{1,63} ?[\[(] ?at ?[\])] ?\w[\w-]{0,62}(?: ?(?:\.|[\[(] ?dot ?[\])]) ?\w{2,24}){1,4}",
    re.I,
)
"""`jo (at) mail (dot) org`."""

_IPV4 = re.compile(BEFORE + r"(?<!\.)(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.[0-9])" + AFTER)
_IPV6 = re.compile(BEFORE + r"(?<![:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{2,40}(?:\.[0-9.]{5,11})?(?!:)" + AFTER)
_VERSION = re.compile(
    r"(?:\bv|versi[oó]ne?|versie|wersja|release|firmware|build|section|chapter|page|kapitel|abschnitt|seite|chapitre"
    r"|cap[ií]tulo|secci[oó]n|capitolo|sezione|hoofdstuk|rozdział)s? ?(?::|is|was|to|from)? ?[\"'“]?$"
    r"|\b(?:updat|upgrad|downgrad)\w{1,3} (?:from|to) (?:[0-9.]{3,15} to )?$",
    re.I,
)
_NOBODYS = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "255.0.0.0/8", "fc00::/7"),
    )
)
"""Addresses inside any network (RFC 1918 and 4193), this network's own, and masks: the same in every home."""


def emails(text: str) -> list[Span]:
    """E-mail addresses, written out or with (at) and (dot), and payment addresses of UPI."""
    found = [span for match in _EMAIL.finditer(text) if (span := _email(match))] if "@" in text else []
    if "@" in text:
        found += spans_of(_UPI.finditer(text), "email", "UPI handle")
    if "at)" in text or "at]" in text:
        found += spans_of(_AWAY.finditer(text), "email", "written with (at)")
    return found


def _email(match: re.Match[str]) -> Span | None:
    """The address, without words of scripts without spaces that touch one in other letters; None where it is none."""
    start, end = match.span()
    name, _, host = match[0].partition("@")
    if match.string.startswith(":", end) and name == "git":
        return None  # git@host:path, which everybody writes alike
    if not _UNSPACED.match(name[-1]):
        start += max((letter.end() for letter in _UNSPACED.finditer(name)), default=0)
    touching = _UNSPACED.search(host, host.rindex(".") + 1)
    if touching and touching.start() > host.rindex(".") + 1:
        end = match.end() - len(host) + touching.start()
    found = match.string[start:end]
    return None if found.startswith("@") or _FILE.search(found) else Span(start, end, "email", found, "form")


def ip_addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses, without those that tell of nobody: this machine, any, a home's own, masks, versions."""
    for match in _IPV4.finditer(text) if text.count(".") >= 3 else ():
        if _is_address(match[0]) and not labelled(text, match.start(), _VERSION):
            yield Span(*match.span(), "ip_address", match[0], "IPv4")
    for match in _IPV6.finditer(text) if text.count(":") >= 2 else ():
        if sum(map(bool, match[0].split(":"))) >= 3 and _is_address(match[0]):
            yield Span(*match.span(), "ip_address", match[0], "IPv6")


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast:
        return False
    return not any(address in network for network in _NOBODYS)
