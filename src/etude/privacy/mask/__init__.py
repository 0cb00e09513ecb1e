"""Masking: one value gets one surrogate throughout."""
