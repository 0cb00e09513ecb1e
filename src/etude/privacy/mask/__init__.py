"""Masking: each value gets the same surrogate everywhere."""
