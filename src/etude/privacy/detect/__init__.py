"""Detectors of personal data and secrets, one file for each family."""
