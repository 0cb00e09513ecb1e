"""The sealed split: which rows train, which choose among candidates (dev), and which are the
test.
"""

from etude.data.splits.clusters import input_key
from etude.data.splits.sides import Split, split
