"""What can be put right in examples without a person, into a new file, with a way back row by row."""

from __future__ import annotations

from etude.repair.change_log import Change, stand_ins
from etude.repair.changes import KINDS
from etude.repair.fix import Fixed, fix, undo

__all__ = ["KINDS", "Change", "Fixed", "fix", "stand_ins", "undo"]
