"""Corrections of examples that need no judgement, written to a new file, and undone row by row."""

from __future__ import annotations

from etude.repair.change_log import Change, stand_ins
from etude.repair.changes import KINDS
from etude.repair.fix import Fixed, Proposal, accept, fix, propose, undo

__all__ = ["KINDS", "Change", "Fixed", "Proposal", "accept", "fix", "propose", "stand_ins", "undo"]
