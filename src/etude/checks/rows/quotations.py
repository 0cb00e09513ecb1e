"""Quotations and code within a text, which are not its author's words, and code blocks that are
never closed.
"""

import re
from collections.abc import Sequence

MIN_CLOSED = 10  # texts with closed code blocks that are needed for an open block to be reported
CLOSED_SHARE = 0.8  # the same as a share of the texts with code blocks
# Code between fences or backticks, text in quotation marks, lines that begin with `>`.
QUOTED = re.compile(
    r"```.{0,4000}?(?:```|\Z)|`[^`\n"
    r"]{1,400}`|\"[^\"\n"
    r"]{1,400}\"|“[^”\n"
    r"]{1,400}”|„[^“”\n"
    r"]{1,400}[“”]|«[^»\n"
    r"]{1,400}»"
    r"|‘[^’\n]{1,400}’|(?<!\w)'[^'\n]{1,400}'(?!\w)|(?m:^[ \t]{0,3}>[^\n]*)",
    re.DOTALL,
)
_FENCE = re.compile(r"^[ \t]{0,12}(`{3,}|~{3,})(.*)$", re.MULTILINE)


def blank_quotations(text: str) -> str:
    """Replace every quoted character by a space, so that other characters keep their positions."""
    return QUOTED.sub(lambda match: " " * len(match[0]), text)


def find_unclosed(texts: Sequence[str]) -> list[int]:
    """Return the positions of texts with an unclosed code block, if nearly all other texts close
    theirs.
    """
    unclosed: list[int] = []
    num_closed = 0
    for position, text in enumerate(texts):
        if "```" in text or "~~~" in text:
            is_open = is_unclosed(text)
            num_closed += is_open is False
            unclosed += [position] if is_open else []
    return (
        unclosed
        if num_closed >= max(MIN_CLOSED, CLOSED_SHARE * (num_closed + len(unclosed)))
        else []
    )


def is_unclosed(text: str) -> bool | None:
    """Whether the last fence (```) of a text is open, by the rules of Markdown; None if it has no
    fence.

    The closing fence has the same character, is at least as long, and nothing follows it on its
    line.
    """
    fence = ""
    has_fence = False
    for match in _FENCE.finditer(text):
        marks = match[1]
        info = match[2].strip()
        if not fence:
            if "`" not in info:  # ```print(1)``` in one line is closed
                fence = marks
                has_fence = True
        elif marks.startswith(fence) and not info:
            fence = ""
    return bool(fence) if has_fence else None
