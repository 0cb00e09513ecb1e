"""How many examples a task of its kind usually takes, with the sources, where there are fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from etude.base.wording import count
from etude.checks.material import Material
from etude.checks.record import FindingKind, finds
from etude.data.dataset import TRAINED, VERDICT_LEAST, least_rows
from etude.text.spellings import written_alike
from etude.types import Finding, Kind


@dataclass(frozen=True)
class Usual:
    """What others have reported of tasks of a kind."""

    rows: int
    """Examples below which it is worth a word; of classify, for each label."""
    report: str
    """What was found with how many examples, and where that is written."""


_FIRST_GAINS = "first gains show at 50 to 100 well-made examples (OpenAI's guide to supervised fine-tuning)"
USUAL: Mapping[Kind, Usual] = {
    "classify": Usual(
        50,
        "a tuned model of 7 billion weights, with 77 labels to choose from, was right in 69% with 13 examples a label, "
        "in 87% with 53 and in 92% with 106 (Bertsch et al. 2025, arXiv 2405.00200)",
    ),
    "extract": Usual(
        500,
        f"{_FIRST_GAINS}; records of scientific texts were learned from about 500 (Dunn et al. 2022, "
        "arXiv 2212.05238)",
    ),
    "answer": Usual(
        1_000,
        f"{_FIRST_GAINS}; a manner of answering was learned from 1,000 chosen ones (Zhou et al. 2023, "
        "arXiv 2305.11206)",
    ),
    "rewrite": Usual(
        1_000,
        f"{_FIRST_GAINS}; translations became worse with 1,000 to 2,000 and better from 5,000 on (Vieira et al. 2024, "
        "arXiv 2409.03454)",
    ),
}
"""Reports of others, on other tasks and larger models: an orientation. Only a comparison tells of this task."""


@finds(FindingKind("few_rows", "warning, note", "fewer rows than such tasks usually need, with sources"))
def few_rows(material: Material) -> Iterator[Finding]:
    """Sets with fewer examples than tasks of their kind usually take; silent where `too_few` speaks."""
    usual, rows = USUAL[material.task.kind], len(material.rows)
    labels = len(written_alike(Counter(material.outputs))) if material.task.kind == "classify" else 1
    if rows >= usual.rows * labels or any(fault.kind == "too_few" for fault in material.faults):
        return
    few = rows < VERDICT_LEAST
    each = (
        f" for {count(labels, 'label')}, {rows / labels:,.0f} each on average"
        if material.task.kind == "classify"
        else ""
    )
    yield material.finding(
        "few_rows",
        "warning" if few else "note",
        [],
        f"{count(rows, 'row')}{each}, fewer than tasks of this kind usually take.{_not_enough(material)} Reported "
        f"of such tasks: {usual.report}.",
        "Improve the prompt or collect more first, and fix the other findings."
        if few
        else "Run etude compare to see whether these are enough.",
        numbers={"usual": usual.rows * labels},
    )


def _not_enough(material: Material) -> str:
    """That a comparison would refuse so few rows; "" where it takes them."""
    needed, parts = least_rows(own_test=material.test is not None)
    if len(material.rows) >= needed:
        return ""
    return f" A comparison takes {needed} ({parts}), etude train {least_rows(True, TRAINED)[0]}."
