"""The ladder of methods on one sealed test, and the verdict on it.

`compare` runs a whole comparison; compare.py has its steps in order.
"""

from etude.comparison.compare import compare
