"""Checks of the data: what is wrong with a set of examples before anyone trains on it.

A check is a function from Material to Findings; `CHECKS` lists them in the order in which they are told.
"""

from __future__ import annotations

from etude.checks.material import Material
from etude.checks.registry import CHECKS, Check, Findings, check, check_material

__all__ = ["CHECKS", "Check", "Findings", "Material", "check", "check_material"]
