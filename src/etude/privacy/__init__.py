"""Personal data and secrets in text: found, masked consistently, and remembered only as keyed hashes."""

from etude.privacy.find import find, find_all
from etude.privacy.spans import BLOCKING, KINDS, REVIEW, Span

__all__ = ["BLOCKING", "KINDS", "REVIEW", "Span", "find", "find_all"]
