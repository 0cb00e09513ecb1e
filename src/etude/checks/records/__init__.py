"""Structured answers compared with their texts."""
