"""Corrections of the examples, written to a new file next to them; each can be undone."""

from etude.repair.change_log import Change
from etude.repair.fix_file import FixResult, Proposal, accept, fix, propose, undo

__all__ = ["Change", "FixResult", "Proposal", "accept", "fix", "propose", "undo"]
