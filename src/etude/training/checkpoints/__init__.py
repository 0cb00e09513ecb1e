"""Checkpoints that survive a kill."""
