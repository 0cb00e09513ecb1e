"""Sets that are smaller than usual."""

from __future__ import annotations

import pytest

from etude.checks.rows.enough import USUAL, few_rows
from pairs import found_in
from test_checks import clean


@pytest.mark.parametrize("kind", USUAL)
def test_few_rows_are_told_with_a_source_and_what_to_do_first(kind: str) -> None:
    pairs = [
        (asked, given_ if kind != "classify" else f"label {place % 2}")
        for place, (asked, given_) in enumerate(clean(40))
    ]
    (found,) = found_in(pairs, few_rows, kind)  # type: ignore[arg-type]
    assert found.severity == "warning"
    assert "arXiv" in found.message
    assert found.remedy.startswith("Improve the prompt or collect more first")
    enough = [pairs[place % 40] for place in range(1_000)]
    assert not len(found_in(enough, few_rows, kind))  # type: ignore[arg-type]
