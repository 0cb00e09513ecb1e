"""Sets that are smaller than usual."""

import pytest
from test_checks import create_pairs

from etude.checks.rows.whole_set import USUAL_SIZES, check_few_rows
from pairs import find_in


@pytest.mark.parametrize("kind", USUAL_SIZES)
def test_few_rows_are_told_with_a_source_and_what_to_do_first(kind: str) -> None:
    pairs = [
        (question, given_ if kind != "classify" else f"label {place % 2}")
        for place, (question, given_) in enumerate(create_pairs(40))
    ]
    (finding,) = find_in(pairs, check_few_rows, kind)  # type: ignore[arg-type]
    assert finding.severity == "warning"
    assert "arXiv" in finding.message
    assert finding.remedy.startswith("Improve the prompt or collect more examples first")
    enough = [pairs[position % 40] for position in range(1_000)]
    assert not len(find_in(enough, check_few_rows, kind))  # type: ignore[arg-type]
