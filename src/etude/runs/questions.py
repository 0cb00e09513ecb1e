"""What a run asks its user, and what is answered where nobody is asked."""

from __future__ import annotations

from collections.abc import Callable

LONG = 3600.0
"""Seconds above which the user is asked before a run without a budget begins."""

UNANSWERED = "(unanswered)"
"""Printed behind a question to which silence is a no, where nobody is asked; one word, which no line end parts."""

Confirm = Callable[[str], bool]
"""Asks the user a yes-or-no question."""


class Sensitive(str):
    """A question to which silence is a no."""

    __slots__ = ()


def agreed(question: str) -> bool:
    """The answer where nobody is asked: yes, but no to what is sensitive."""
    return not isinstance(question, Sensitive)
