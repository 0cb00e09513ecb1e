"""Quotations and code within a text, which are not in its author's words."""

from __future__ import annotations

import re

QUOTED = re.compile(
    r"```.{0,4000}?(?:```|\Z)|`[^`\n]{1,400}`|\"[^\"\n]{1,400}\"|“[^”\n]{1,400}”|„[^“”\n]{1,400}[“”]|«[^»\n]{1,400}»"
    r"|‘[^’\n]{1,400}’|(?<!\w)'[^'\n]{1,400}'(?!\w)|(?m:^[ \t]{0,3}>[^\n]*)",
    re.DOTALL,
)
"""Code between fences or backticks, what stands in quotation marks, lines that begin with `>`."""


def without_quotations(text: str) -> str:
    """The text with a space for every character that is quoted, so that places stay."""
    return QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)
