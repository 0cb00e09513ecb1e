"""The ladder of methods on one sealed test, and the verdict on it.

`compare` is the whole path; session.py reads it top to bottom.
"""

from etude.comparison.session import Comparison, compare

__all__ = ["Comparison", "compare"]
