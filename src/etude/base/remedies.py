"""What to say about a fault: the nearest known word, the byte that is no text, the end of a long list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from etude.errors import InputError, Issue

MOST_FAULTS = 50
"""So many faults of a file are spelled out; the others are counted."""
_MOST_NAMES = 25
FEW_LINES = 3
"""Lines that are not UTF-8 up to which each is a fault of its own."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, None when none is much like it."""
    from rapidfuzz import fuzz, process

    names = {name: name.casefold() for name in known}
    found = process.extractOne(word.casefold(), names, scorer=fuzz.ratio, score_cutoff=55)
    return found[2] if found else None


def instead(word: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown word, as the remedy of a fault."""
    names = list(known)
    close = nearest(word, names)
    if close:
        return f"write {close!r}"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"write one of: {', '.join(names[:_MOST_NAMES])}{more}"


def nearest_path(path: Path, fits: Callable[[Path], bool] = Path.exists) -> Path | None:
    """Of what stands in the path's folder and `fits`, the one of the nearest name; None when none is near."""
    entries = path.parent.iterdir() if path.parent.is_dir() else ()
    close = nearest(path.name, [entry.name for entry in entries if fits(entry)])
    return path.with_name(close) if close else None


NOT_UTF8, UTF16 = "not UTF-8", "this is UTF-16, not UTF-8"


def decoding_fault(where: str, raw: bytes, error: UnicodeDecodeError, table: bool = False) -> Issue:
    """The fault of bytes that are not UTF-8, naming the byte and its position in `raw` (from 1), and how to convert
    them: in a shell, of a `table` in Excel too."""
    wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    got = f"byte 0x{raw[error.start]:02X} at position {error.start + 1}"
    return Issue(where, UTF16 if wide else NOT_UTF8, got, as_utf8(wide, table), "encoding")


def as_utf8(wide: bool, table: bool) -> str:
    """How to convert a file: from UTF-16 (`wide`) or an encoding of one byte; a `table` in Excel too."""
    excel = "in Excel: Save As, CSV UTF-8; " if table else ""
    shell = "in a shell: iconv -f UTF-16" if wide else "in a shell, from Western European: iconv -f CP1252"
    return f"save the file as UTF-8 ({excel}{shell} -t UTF-8 FILE > NEW)"


def _of_one_cause(faults: Sequence[Issue]) -> list[Issue]:
    """The faults with those of a whole file in another encoding as one, and those of turns that use tools."""
    return _one_of_tools(_one_of_encoding(faults))


def _one_of_tools(faults: Sequence[Issue]) -> list[Issue]:
    tools = [fault for fault in faults if fault.kind == "tools"]
    if len(tools) < 2:
        return list(faults)
    places = ", ".join(fault.location for fault in tools[1 : FEW_LINES + 1])
    first = replace(tools[0], message=f"in {len(tools):,} rows {tools[0].message}; the next: {places}")
    return [first, *(fault for fault in faults if fault.kind != "tools")]


def _one_of_encoding(faults: Sequence[Issue]) -> list[Issue]:
    undecoded = [fault for fault in faults if fault.message == NOT_UTF8]
    if len(undecoded) <= FEW_LINES:
        return list(faults)
    first = replace(undecoded[0], message=f"{len(undecoded):,} lines are {NOT_UTF8}")
    rest = [
        fault
        for fault in faults
        if fault.message != NOT_UTF8 and fault.location not in {one.location for one in undecoded}
    ]
    return [first, *rest]


def raise_faults(faults: Sequence[Issue], file: Path) -> None:
    """Raises InputError when there are faults; the first 50 are spelled out, the others counted."""
    faults = _of_one_cause(faults)
    if faults:
        more = len(faults) - MOST_FAULTS
        rest = [Issue(file.name, f"and {more:,} more faults", "", "correct these first")] if more > 0 else []
        raise InputError([*faults[:MOST_FAULTS], *rest], len(faults))
