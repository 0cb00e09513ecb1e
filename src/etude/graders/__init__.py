"""Graders as OpenAI's API words them: a specification, an item and a sample give a score."""
