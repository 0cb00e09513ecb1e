"""Graders in the format of OpenAI's API: each scores a sample for an item."""
