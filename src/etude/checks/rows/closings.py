"""The closing that most answers share: a greeting, a signature, the name of a team."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

SHARED = 0.5
"""Share of the answers that end with the same lines, from which these are a closing and none of the answer itself."""
MOST_LINES = 6
"""Lines of a closing, at most."""
MOST_READ = 1_000
"""Characters of an answer's end in which it is looked for."""
NAME_WORDS = 3
"""Words up to which a line below a shared one may be a name, which differs from answer to answer."""


class Closing:
    """The last lines that at least `SHARED` of some texts have in common; one of them may be a name.

    A first line belongs to no closing, so that something is left of every text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        lines = [Counter[str]() for _ in range(MOST_LINES)]
        names = [0] * MOST_LINES
        for text in texts:
            for place, line in enumerate(_last_lines(text)):
                lines[place][line] += 1
                names[place] += len(line.split()) <= NAME_WORDS
        self._lines: list[str | None] = []
        """The last line, the one above and so on; None for a name."""
        found: list[str | None] = []
        least = max(SHARED * len(texts), 1)
        for counts, short in zip(lines, names, strict=True):
            # Of two that half of the texts have each, the same one in any order of the texts.
            line, times = max(counts.items(), key=lambda one: (one[1], one[0]), default=("", 0))
            if times >= least:
                found.append(line)
                self._lines = found[:]
            elif short >= least and None not in found:
                found.append(None)
            else:
                break

    def __bool__(self) -> bool:
        return bool(self._lines)

    def cut_from(self, text: str) -> str:
        """The text without the closing, or as it is where it has none."""
        found = _last_lines(text)
        if not self._lines or len(found) < len(self._lines):
            return text
        for line, shared in zip(found, self._lines, strict=False):
            if shared not in (None, line):
                return text
        rest = text.rstrip()
        for _ in self._lines:
            rest = rest[: rest.rindex("\n")].rstrip()
        return rest


def _last_lines(text: str) -> list[str]:
    """The last lines that are not empty, the last one first, without the first of the text."""
    end = text.rstrip()[-MOST_READ:]
    found = [line.strip() for line in end.split("\n") if line.strip()]
    return found[:0:-1][:MOST_LINES]
