"""Issues of an input file: the nearest known word, bytes that are not UTF-8, and many issues raised
as one error.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from etude.errors import InputError, Issue, quote_value

MAX_ISSUES = 50  # Issues of a file that are listed; the others are counted
MAX_LINE_ISSUES = 3  # Up to this many lines that are not UTF-8 are separate issues
MERGED_KIND = "tools"  # Issues of this kind have one cause, so they are reported as one
NOT_UTF8 = "not UTF-8"
UTF16 = "this is UTF-16, not UTF-8"
_MAX_NAMES = 25


def find_nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word most like `word`; None if none is similar enough."""
    from rapidfuzz import fuzz, process

    names = {name: name.casefold() for name in known}
    match = process.extractOne(word.casefold(), names, scorer=fuzz.ratio, score_cutoff=55)
    return match[2] if match else None


def suggest_instead(word: str, known: Iterable[str]) -> str:
    """Format the remedy for an unknown word: the nearest known word, else a list of all."""
    names = list(known)
    if nearest := find_nearest(word, names):
        return f"write {nearest!r}"
    overflow = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"write one of: {', '.join(names[:_MAX_NAMES])}{overflow}"


def check_known(
    option: str, words: Iterable[str], known: Collection[str], message: str = "unknown"
) -> None:
    """Raise InputError for the words of an option that are not `known`, each with what to write
    instead.
    """
    unknown = [word for word in words if word not in known]
    if unknown:
        raise InputError(
            [
                Issue(option, message, quote_value(word), suggest_instead(word, known))
                for word in unknown
            ]
        )


def refuse_existing(file: Path, remedy: str) -> None:
    """Raise InputError if the file exists, so that nothing is overwritten."""
    if file.exists():
        raise InputError.of(str(file), "the file already exists", "", remedy)


def find_nearest_path(path: Path, fits: Callable[[Path], bool] = Path.exists) -> Path | None:
    """Find the entry of the path's folder that `fits` and has the most similar name; None if none
    is similar.
    """
    entries = path.parent.iterdir() if path.parent.is_dir() else ()
    nearest = find_nearest(path.name, [entry.name for entry in entries if fits(entry)])
    return path.with_name(nearest) if nearest else None


def decoding_issue(
    location: str, raw: bytes, error: UnicodeDecodeError, table: bool = False
) -> Issue:
    """Build the issue of bytes that are not UTF-8, with the byte, its position in `raw` (from 1)
    and the remedy.
    """
    is_utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    value = f"byte 0x{raw[error.start]:02X} at position {error.start + 1}"
    message = UTF16 if is_utf16 else NOT_UTF8
    return Issue(location, message, value, describe_conversion(is_utf16, table), "encoding")


def describe_conversion(is_utf16: bool, table: bool) -> str:
    """Format the command that converts a file from UTF-16 or a one-byte encoding; for a `table`,
    also Excel's menu.
    """
    excel = "in Excel: Save As, CSV UTF-8; " if table else ""
    shell = (
        "in a shell: iconv -f UTF-16"
        if is_utf16
        else "in a shell, from Western European: iconv -f CP1252"
    )
    return f"save the file as UTF-8 ({excel}{shell} -t UTF-8 FILE > NEW)"


def raise_issues(issues: Sequence[Issue], file: Path) -> None:
    """Raise InputError if there are issues. Those with one cause are merged; the first `MAX_ISSUES`
    are listed.
    """
    # If the whole file has another encoding, report this as one issue instead of several for each
    # line.
    undecoded = [issue for issue in issues if issue.message == NOT_UTF8]
    if len(undecoded) > MAX_LINE_ISSUES:
        first = replace(undecoded[0], message=f"{len(undecoded):,} lines are {NOT_UTF8}")
        locations = {issue.location for issue in undecoded}
        issues = [first, *(issue for issue in issues if issue.location not in locations)]
    merged = [issue for issue in issues if issue.kind == MERGED_KIND]
    if len(merged) > 1:
        listed = ", ".join(issue.location for issue in merged[1 : MAX_LINE_ISSUES + 1])
        first = replace(
            merged[0], message=f"in {len(merged):,} rows {merged[0].message}; the next: {listed}"
        )
        issues = [first, *(issue for issue in issues if issue.kind != MERGED_KIND)]
    if issues:
        num_more = len(issues) - MAX_ISSUES
        overflow = (
            [
                Issue(
                    file.name, f"and {num_more:,} more errors", "", "correct the errors above first"
                )
            ]
            if num_more > 0
            else []
        )
        raise InputError([*issues[:MAX_ISSUES], *overflow], len(issues))
