"""Findings as text, HTML, JSON, SARIF and JUnit."""
