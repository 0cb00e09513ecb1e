"""Masking: one value gets one surrogate throughout, and a ledger of keyed hashes."""
