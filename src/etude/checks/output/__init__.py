"""Findings as text, HTML, JSON and SARIF."""
