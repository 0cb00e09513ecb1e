"""Comparison of texts: normal forms, near-duplicates, spellings, word lists."""
