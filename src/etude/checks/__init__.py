"""Checks of the data: errors and risks in a set of examples, found before training.

A check is a generator from Material to Findings, declared with `finds`; `CHECKS` lists them in
their order.
"""

from etude.checks.kinds import FREE, LABELS, TEXTS, Check, FindingKind, finds
from etude.checks.material import Material
from etude.checks.registry import CHECKS, Findings, check, check_material
