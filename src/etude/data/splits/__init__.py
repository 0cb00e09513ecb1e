"""The sealed split: which rows train, which choose (dev), which are the test."""

from __future__ import annotations

from etude.data.splits.sides import Split, input_key, split

__all__ = ["Split", "input_key", "split"]
