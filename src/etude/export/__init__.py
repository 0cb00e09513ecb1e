"""Taking an assistant away: its weights for other programs, and what they lose there, measured."""

from __future__ import annotations

from etude.export.retest import Retest, retest
from etude.export.targets import TARGETS, Exported, export

__all__ = ["TARGETS", "Exported", "Retest", "export", "retest"]
