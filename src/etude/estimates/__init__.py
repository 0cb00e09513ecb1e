"""Estimates before a run: time, memory, and rows that are too long."""
