"""The ladder of methods on one sealed test, and the verdict on it.

`compare` is the whole path; compare.py reads it top to bottom.
"""

from etude.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
