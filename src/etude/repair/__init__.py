"""Corrections of the examples, written to a new file next to them; each can be undone."""

from etude.repair.fix_file import fix, undo
