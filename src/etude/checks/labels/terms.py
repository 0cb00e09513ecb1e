"""Texts by what a vectoriser finds in them, also where that is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def terms_by_rows(vectoriser: Any, texts: Sequence[str]) -> Any:
    """Rows by terms of a scikit-learn vectoriser, sparse; None where no text holds a term that is kept.

    scikit-learn refuses such texts with a ValueError, of which the words alone tell it from others.
    """
    try:
        return vectoriser.fit_transform(texts)
    except ValueError as error:
        if "empty vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise
