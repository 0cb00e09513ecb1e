"""Texts as the whole project compares them: normal forms, near-duplicates, spellings, word lists."""
