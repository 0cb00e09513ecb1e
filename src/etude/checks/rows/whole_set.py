"""Checks of the set as a whole: spellings of labels, and whether there are enough rows."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from etude.base.formatting import format_count
from etude.checks.excerpts import redact_label
from etude.checks.kinds import LABELS, FindingKind, finds
from etude.checks.material import Material
from etude.data import dataset
from etude.text.spellings import find_spellings, format_spellings, merge_spellings
from etude.types import Finding, Kind

MAX_SPELLINGS = 5  # spellings in a message


@finds(
    FindingKind("label_spelling", "warning", "labels with several spellings"),
    tasks=LABELS,
    by_question=True,
)
def check_label_spelling(material: Material) -> Iterator[Finding]:
    """Find labels that differ from a more frequent one only in case, spaces, hyphens, underscores
    or one letter.
    """
    label_rows = material.label_rows
    spellings = find_spellings([label for label, _ in label_rows])
    if not spellings:
        return
    rows = sorted(
        {label_rows[position][1] for spelling in spellings for position in spelling.positions}
    )
    text = format_spellings(
        spellings, lambda position: material.rows[label_rows[position][1]].location, MAX_SPELLINGS
    )
    yield material.finding(
        "label_spelling",
        "warning",
        rows,
        redact_label(f"{text}."),
        "Write each label in one way: every spelling counts as a separate class.",
        numbers={"rows": len(rows), "of": len(material.rows), "spellings": len(spellings)},
    )


@dataclass(frozen=True)
class UsualSize:
    """How many examples published results used for a kind of task."""

    rows: int
    """Examples below which the finding is reported; for a classification, examples per label."""
    report: str
    """The results with the number of examples, and the source."""


_FIRST_GAINS = (
    "the first gains appear at 50 to 100 well-made examples (OpenAI's guide to supervised "
    "fine-tuning)"
)
# Published results on other tasks and larger models are only a rough guide: a comparison measures
# what this task needs.
USUAL_SIZES: Mapping[Kind, UsualSize] = {
    "classify": UsualSize(
        50,
        "a tuned model with 7 billion weights, on 77 labels, had an accuracy of 69% with 13 "
        "examples per label, 87% with 53 and 92% with 106 (Bertsch et al. 2025, arXiv 2405.00200)",
    ),
    "extract": UsualSize(
        500,
        f"{_FIRST_GAINS}; about 500 examples were enough to extract records from scientific texts "
        "(Dunn et al. 2022, arXiv 2212.05238)",
    ),
    "answer": UsualSize(
        1_000,
        f"{_FIRST_GAINS}; 1,000 selected examples were enough to learn a style of answering (Zhou "
        "et al. 2023, arXiv 2305.11206)",
    ),
    "rewrite": UsualSize(
        1_000,
        f"{_FIRST_GAINS}; translations became worse with 1,000 to 2,000 examples and better from "
        "5,000 on (Vieira et al. 2024, arXiv 2409.03454)",
    ),
}


@finds(
    FindingKind(
        "few_rows", "warning, note", "fewer rows than such tasks usually need, with sources"
    ),
    by_question=True,
)
def check_few_rows(material: Material) -> Iterator[Finding]:
    """Report sets with fewer examples than tasks of their kind usually need, unless `too_few` is
    already reported.
    """
    usual = USUAL_SIZES[material.task.kind]
    rows = len(material.rows)
    is_classify = material.task.kind == "classify"
    counts = (
        merge_spellings(Counter(label for label, _ in material.label_rows))
        if is_classify
        else Counter()
    )
    labels, num_labelled = (len(counts), sum(counts.values())) if is_classify else (1, rows)
    if num_labelled >= usual.rows * labels or any(
        issue.kind == "too_few" for issue in material.issues
    ):
        return
    average = num_labelled / max(labels, 1)
    per_label = f" for {format_count(labels, 'label')}, {average:,.0f} each on average"
    needed, parts = dataset.count_min_rows(has_own_test=material.test is not None)
    num_to_train = dataset.count_min_rows(True, dataset.TRAIN_MIN)[0]
    refusal = f" A comparison needs {needed} rows ({parts}); etude train needs {num_to_train}."
    is_short = (
        rows < needed and material.task.turns == "last"
    )  # with "all", each answer of a conversation counts
    is_warning = rows < dataset.MIN_VERDICT_ROWS
    yield material.finding(
        "few_rows",
        "warning" if is_warning else "note",
        [],
        f"{format_count(rows, 'row')}{per_label if is_classify else ''}, fewer than tasks of this "
        f"kind usually need.{refusal if is_short else ''} Published results for such tasks: "
        f"{usual.report}.",
        "Improve the prompt or collect more examples first, and fix the other findings."
        if is_warning
        else "Run etude compare to see whether these are enough.",
        numbers={"usual": usual.rows * labels},
    )
