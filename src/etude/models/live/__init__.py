"""Answers that are written together while others begin and end, and kept to a form."""
