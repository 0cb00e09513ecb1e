"""Measure with deliberately slow texts how the time of every detector, check, repair and page grows with the length.

    python bench/blow_up.py                     # from 10 kB to 1 MB, some ten minutes
    python bench/blow_up.py --only names html   # only those whose name contains one of these words

A piece of text is repeated up to a length, with and without an end at which no pattern can match. The length is
doubled until it takes more than LONGEST seconds. For each function the worst piece is printed, with the processor
seconds at its greatest length and the exponent of their growth over the last doublings: 1 is proportional, 2 is
quadratic. The exit code is 1 if an exponent is above WORST for a time that is long enough to measure.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from etude.checks import CHECKS, Findings, Material
from etude.checks.output.html_page import to_html
from etude.checks.output.machine import to_json, to_sarif
from etude.checks.output.terminal import to_text
from etude.checks.rows.damaged_text import fix_encoding, remove_markup
from etude.data.dataset import Dataset
from etude.privacy.detect import account_numbers as numbers
from etude.privacy.detect import contact, details, national, phones, secrets
from etude.privacy.names import addresses as places
from etude.privacy.names import people
from etude.privacy.plain import to_plain_text
from etude.task import RowSource, Task
from etude.text.normal_forms import normalise
from etude.types import Example, Excerpt, Finding, Kind, Message

SIZES = (*(10_000 * 2**step for step in range(7)), 1_000_000)
SCREENED = (10_000, 40_000)
"""A function and a piece are first timed at these two lengths."""
SLOW = 0.02
"""Longer texts are timed only if the second of these lengths takes at least so many seconds."""
LONGEST = 3.0
"""After a time of this many seconds, no greater length is tried."""
LEAST = 0.02
"""A time of fewer seconds is not used to measure growth."""
WORST = 1.4
"""Above this exponent, growth is not proportional."""
ENDS = ("", ' @\n\x00!"')
PIECES = (
    *("a", "A", "1", " ", "\n", "\t", ".", ",", ":", ";", "-", "_", "@", "'", '"', "“", "(", "[", "{"),
    *("<", "&", "/", "$", "Ã", "\xa0", "â€", "é", "漢", "🙂", "́", "\x07", "�", "İ", "ß", "²", "a ", "A "),
    *("Aa ", "aA", "1 ", "1.", "1-", "1a", "a1", "a.", "a-", "a'", "a,", "a:", ":a", "a\n", "A. ", "a@"),
    *("a\t1 ", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ", "don't ", "{{", "{%", "<%", "[your ", "[name "),
    *("name[", "name[a],", "<b ", "<b>", "&#1", "&amp;", "<|im_", "### ", "ignore all "),
    *("ignore all previous ", "you are now ", "reveal the ", "- ", "1) ", "a: b\n", "a: ", "4111 1111 "),
    *("+49", "+49 30 ", "(0", "0 0", "555-", "call ", "a.b@c.", "a(at)b ", "a@b-", "GB29", "DE89 3704 "),
    *("1::", "f:", "1.1.1.", "123-45-", "12.12.", "X1234567", "ABCDE1", "passport "),
    *("account number is ", "id: ", "my id no. ", "eyJ", "eyJabcdefgh.", "eyJabcdefgh.eyJabcd.", "sk-"),
    *("ghp_", "AKIA", "xoxb-", "://", "http://a:", "http://a:b", "https://", "password ", "password is "),
    *("pass_", "a_pass", "token: ", "secret=", "api key ", "bearer ", "aws key ", "PIN ", "key-"),
    *("-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "PuTTY-User-Key-File-2:", "@a' / ", "access_token$"),
    *("AGE-SECRET-KEY-1", "Anna ", "Anna, ", "Anna and ", "Dr. ", "name is ", "Anna\n", "van der "),
    *("Anna van ", "anna@", "O'", "12 Main ", "12, ", "12 12 Main ", "Main 12, ", "Via ", "Apt 1 "),
    *("P.O. Box ", "lives at ", "address: ", "address of ", "corner of ", "AB 12345 ", "Town ", "nan "),
    *("born ", "born on ", "12 May ", "I ", "my ", "I am ", "the patient ", "diagnosed with "),
    *("a b c d ", "take ", "take 1 mg ", "1 mg ", "you should ", "you should take ", "invest in "),
    *("i will ", "kill ", "we are going to ", "the ", "and ", "der ", "of the ", "$1 ", "1,000,"),
    *("12 January ", "1/1/", "not ", "is not ", "I'm ", '{"a":', '{"a": 1, ', "[1,", "a[b], ", "a = b, "),
    *("密码", "密码是", "Passwort ist ", "Kundennummer ", "numéro de ", "nº de ", "customer no. ", "电话"),
    *("password for a ", 'pwd="a ', "login a / ", "@a.b / ", "@a.b:", "user 'a@b', ", "123 ", "1234*"),
    *("\u202f1", "漢1", "漢@a.", '{"a\\n":"', '"a\\u00e9",', "[[", '{"', '"\\'),
    *("a | b", "\\", "\\u00e9", "<p>", "</p>\n", "<br>", "&lt;", "&nbsp;"),
)


class Growth(NamedTuple):
    """The growth of a function's time with one text."""

    seconds: float
    size: int
    exponent: float
    piece: str


def list_detectors() -> Mapping[str, Callable[[str], object]]:
    """Returns all functions that take one text."""
    found: dict[str, Callable[[str], object]] = {
        each.name: lambda text, each=each: list(each(text))  # type: ignore[misc]
        for each in (
            *(
                contact.find_emails,
                phones.find_phones,
                contact.find_ip_addresses,
                numbers.find_cards,
                numbers.find_ibans,
            ),
            *(
                numbers.find_id_numbers,
                national.find_national_ids,
                secrets.find_secrets,
                people.find_names,
            ),
            *(places.find_addresses, details.find_birth_dates, details.find_health_details),
        )
    }
    return found | {
        "plain_text": to_plain_text,
        "normalise": normalise,
        "decoded": fix_encoding,
        "without_markup": remove_markup,
    }


def list_checks() -> Iterator[tuple[str, Callable[[str], object]]]:
    """Returns every check, on rows of which one has a long input and a long answer."""
    for each in CHECKS:
        for kind in ("answer", "extract", "classify"):
            yield (
                f"{each.name} ({kind})",
                lambda text, each=each, kind=kind: list(each(build_material(text, kind))),  # type: ignore[misc]
            )


def build_material(text: str, kind: Kind) -> Material:
    """Builds short rows and one long row; for classify, its label is short."""
    labels = kind == "classify"
    short = [(f"What is told of item {number} in the hall?", f"It is item {number}.") for number in range(60)]
    pairs = [
        *(
            (input_text, str(len(input_text) % 2) if labels else output_text)
            for input_text, output_text in short
        )
    ]
    pairs += [(f"x {text}", "0" if labels else f"y {text}")] * 2
    rows = tuple(
        Example(str(place), (Message("user", asked),), given, location=f"rows.jsonl:{place + 1}")
        for place, (asked, given) in enumerate(pairs)
    )
    task = Task("t", kind, "fake", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"))
    test = tuple(replace(row, id=f"t{row.id}") for row in rows[-1:])
    return Material(task, Dataset(rows), Dataset(test))


def list_pages() -> Iterator[tuple[str, Callable[[str], object]]]:
    """Returns every format of findings, with the text as message and excerpt."""
    for form in (to_text, to_json, to_sarif, to_html):
        yield form.__name__, lambda text, form=form: form(build_findings(text))  # type: ignore[misc]


def build_findings(text: str) -> Findings:
    """Builds one finding whose message and excerpt contain a text."""
    shown = Excerpt("r", "rows.jsonl:1", "input", text, tuple((at, at + 1) for at in range(0, 400, 20)))
    one = Finding(
        "echo", "error", ("r",), message=text, remedy=text, locations=("rows.jsonl:1",), excerpts=(shown,)
    )
    return Findings(text[:1000], "rows.jsonl", 1, 0, (one,))


def time_call(look: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    look(text)
    return time.process_time() - began


def build_text(piece: str, end: str, size: int) -> str:
    return piece * (size // len(piece)) + end


def measure_growth(look: Callable[[str], object], piece: str, end: str) -> Growth:
    """Measures times from the smallest size on, and the exponent over the last two doublings long enough to
    measure."""
    times: list[tuple[int, float]] = []
    for size in SIZES:
        times.append((size, time_call(look, build_text(piece, end, size))))
        if times[-1][1] > LONGEST:
            break
    counted = [time for time in times if time[1] >= LEAST][-3:]
    exponent = 0.0
    if len(counted) > 1:
        (least, first), (most, last) = counted[0], counted[-1]
        exponent = math.log(last / first, most / least)
    return Growth(times[-1][1], times[-1][0], exponent, piece + end)


def find_worst(look: Callable[[str], object]) -> Growth | None:
    """Returns the piece with the worst growth; None if all are fast."""
    found = []
    for piece in PIECES:
        for end in ENDS:
            if time_call(look, build_text(piece, end, SCREENED[1])) >= SLOW:
                few = time_call(look, build_text(piece, end, SCREENED[0]))
                found.append((few and time_call(look, build_text(piece, end, SCREENED[1])) / few, piece, end))
    looked = [measure_growth(look, piece, end) for _, piece, end in sorted(found, reverse=True)[:3]]
    return max(looked, key=lambda one: one.exponent, default=None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", default=[""])
    options = parser.parse_args()
    look: dict[str, Callable[[str], Any]] = {**list_detectors(), **dict(list_checks()), **dict(list_pages())}
    bad = 0
    print(f"{'function':40} {'seconds':>8} {'length':>10} {'exponent':>9}  piece")
    for name, each in look.items():
        if any(word in name for word in options.only):
            each(build_text("Anna 1 ", "", 1000))  # load everything that the first call loads
            found = find_worst(each)
            told = (
                f"{found.seconds:8.2f} {found.size:10,} {found.exponent:9.2f}  {found.piece[:40]!r}"
                if found
                else f"{'':8} under {SLOW} s at {SCREENED[1]:,} characters"
            )
            print(f"{name:40} {told}", flush=True)
            bad += found is not None and found.exponent > WORST
    print(f"{bad} grow faster than in proportion")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
