"""Find e-mail addresses and IP addresses."""

import ipaddress
import re
from collections.abc import Iterator

from etude.privacy.spans import (
    NO_LETTER_AFTER,
    NO_LETTER_BEFORE,
    UNSPACED_LETTERS,
    Span,
    has_label,
    to_spans,
)

_EMAIL = re.compile(
    r"(?<![\w.+%@-])\w[\w.+%'-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])"
)
_UNSPACED = re.compile(f"[{UNSPACED_LETTERS}]")
# Suffixes of files, as in `icon@2x.png`, which are not domains
_FILE_SUFFIX = re.compile(
    r"\.(?:png|jpe?g|gif|webp|svg|ico|bmp|tiff?|css|js|json|html?|xml|ya?ml|txt|pdf)$", re.I
)
# Payment addresses of India's UPI, with the handles of its largest providers
_UPI = re.compile(
    r"(?<![\w.-])[\w.-]{2,64}@(?:oksbi|okaxis|okhdfcbank|okicici|ybl|ibl|axl|upi|paytm|apl|sbi)(?![\w.-])",
    re.I,
)
# `jo (at) mail (dot) org`
_SPELLED_OUT = re.compile(
    r"(?<![\w.+-])\w[\w.+-]{1,63} ?[\[(] ?at ?[\])] ?\w[\w-]{0,62}(?: ?(?:\.|[\[(] ?dot "
    r"?[\])]) ?\w{2,24}){1,4}",
    re.I,
)

_IPV4 = re.compile(
    NO_LETTER_BEFORE + r"(?<!\.)(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.[0-9])" + NO_LETTER_AFTER
)
_IPV6 = re.compile(
    NO_LETTER_BEFORE
    + r"(?<![:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{2,40}(?:\.[0-9.]{5,11})?(?!:)"
    + NO_LETTER_AFTER
)
_VERSION = re.compile(
    r"(?:\bv|versi[oó]ne?|versie|wersja|release|firmware|build|section|chapter|page|kapitel|abschnitt|seite|chapitre"
    r"|cap[ií]tulo|secci[oó]n|capitolo|sezione|hoofdstuk|rozdział)s? ?(?::|is|was|to|from)? "
    r"?[\"'“]?$"
    r"|\b(?:updat|upgrad|downgrad)\w{1,3} (?:from|to) (?:[0-9.]{3,15} to )?$",
    re.I,
)
_PRIVATE = ("0.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "255.0.0.0/8", "fc00::/7")
# Addresses inside private networks (RFC 1918 and 4193), and network masks: they identify nobody
_PRIVATE_NETWORKS = tuple(map(ipaddress.ip_network, _PRIVATE))


def find_emails(text: str) -> list[Span]:
    """Find e-mail addresses, also written with (at) and (dot), and payment addresses of UPI."""
    spans = (
        [span for match in _EMAIL.finditer(text) if (span := _to_email_span(match))]
        if "@" in text
        else []
    )
    if "@" in text:
        spans += to_spans(_UPI.finditer(text), "email", "UPI handle")
    if "at)" in text or "at]" in text:
        spans += to_spans(_SPELLED_OUT.finditer(text), "email", "written with (at)")
    return spans


def _to_email_span(match: re.Match[str]) -> Span | None:
    """Cut off words of scripts without spaces that touch an address in other letters; None if it is
    not an address.
    """
    start, end = match.span()
    user, _, host = match[0].partition("@")
    if match.string.startswith(":", end) and user == "git":
        return None  # git@host:path is the same for everybody
    if not _UNSPACED.match(user[-1]):
        start += max((letter.end() for letter in _UNSPACED.finditer(user)), default=0)
    unspaced = _UNSPACED.search(host, host.rindex(".") + 1)
    if unspaced and unspaced.start() > host.rindex(".") + 1:
        end = match.end() - len(host) + unspaced.start()
    address = match.string[start:end]
    return (
        None
        if address.startswith("@") or _FILE_SUFFIX.search(address)
        else Span(start, end, "email", address, "form")
    )


def find_ip_addresses(text: str) -> Iterator[Span]:
    """Find IPv4 and IPv6 addresses, except private, local and special ones, and version numbers."""
    for match in _IPV4.finditer(text) if text.count(".") >= 3 else ():
        if _is_public_address(match[0]) and not has_label(text, match.start(), _VERSION):
            yield Span(*match.span(), "ip_address", match[0], "IPv4")
    for match in _IPV6.finditer(text) if text.count(":") >= 2 else ():
        if sum(map(bool, match[0].split(":"))) >= 3 and _is_public_address(match[0]):
            yield Span(*match.span(), "ip_address", match[0], "IPv6")


def _is_public_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if (
        address.is_loopback
        or address.is_unspecified
        or address.is_link_local
        or address.is_multicast
    ):
        return False
    return not any(address in network for network in _PRIVATE_NETWORKS)
