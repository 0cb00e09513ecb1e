"""Findings as text, HTML and JSON."""
