"""The ladder: every method, from the lowest step to the highest."""

from __future__ import annotations

from etude.methods.baseline import Baseline
from etude.methods.few_shot import FewShot
from etude.methods.fine_tune import FineTune
from etude.methods.prompt import ClearPrompt, Prompt
from etude.methods.workshop import Method

LADDER: tuple[Method, ...] = (Baseline(), Prompt(), ClearPrompt(), FewShot(), FineTune())
"""In the order of effort that a step asks of the user."""


def ladder(names: tuple[str, ...]) -> list[Method]:
    """The named methods in the order of the ladder."""
    return [method for method in LADDER if method.name in names]
