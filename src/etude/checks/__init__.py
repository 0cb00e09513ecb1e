"""Checks of the data: what is wrong with a set of examples before anyone trains on it.

A check is a function from Material to Findings with a record above it (`finds`); `CHECKS` lists them in the order in
which they run.
"""

from __future__ import annotations

from etude.checks.material import Material
from etude.checks.record import FREE, LABELS, TEXTS, Check, FindingKind, finds
from etude.checks.registry import CHECKS, Findings, check, check_material

__all__ = [
    "CHECKS",
    "FREE",
    "LABELS",
    "TEXTS",
    "Check",
    "FindingKind",
    "Findings",
    "Material",
    "check",
    "check_material",
    "finds",
]
