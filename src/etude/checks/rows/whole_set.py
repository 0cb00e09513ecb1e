"""Checks of the set as a whole: its model, preferences, spellings of labels, and whether there are enough rows."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from etude.base.formatting import format_count
from etude.checks.excerpts import redact_label
from etude.checks.kinds import LABELS, FindingKind, finds
from etude.checks.material import Material, format_rows
from etude.data import dataset, formats
from etude.data.formats import turns
from etude.data.formats.columns import find_thumb_column, is_thumbs_down
from etude.errors import parse_location
from etude.models.registry import find_backend
from etude.text.spellings import find_spellings, format_spellings, merge_spellings
from etude.types import Finding, Kind

MAX_SPELLINGS = 5  # spellings in a message


@finds(FindingKind("unknown_model", "note", "a model that the task names and that does not exist"))
def check_model_names(material: Material) -> Iterator[Finding]:
    """Report a model of the task that does not exist. Packaged models and hub ids need not be here."""
    task = material.task
    names = {key: getattr(task, key) or "" for key in ("model", "prompt_model", "reflect_with")}
    reasons = {key: find_backend(name).check_name(name, key) for key, name in names.items() if name}
    unknown = {key: reason for key, reason in reasons.items() if reason}
    if unknown:
        text = " ".join(f"{key}: {reason}" for key, reason in unknown.items())
        yield Finding(
            kind="unknown_model",
            severity="note",
            rows=(),
            message=f"{text} All checks ran, because no check needs a model. The length of rows was counted in words; "
            "their number of tokens is at least as high.",
            remedy=f"Correct {' and '.join(unknown)} in {task.file.name}. Until then, etude compare and etude train "
            "stop with an error.",
            locations=(task.file.name,),
            numbers={"rows": 0, "of": len(material.rows)},
        )


@finds(
    FindingKind("preference", "note", "worse answers (`rejected`, `label: false`), which are not trained on")
)
def check_preferences(material: Material) -> Iterator[Finding]:
    """Report worse answers in the file of examples, which are not trained on; report nothing if there is no file."""
    file = material.task.examples.file
    head = formats.peek_rows(file) if file.is_file() else []
    pair = formats.find_preference_columns(chain.from_iterable(head))
    columns = formats.guess_columns(head, material.task.examples).source if head else material.task.examples
    if thumbs := find_thumb_column(head, columns):
        yield from _check_thumbs(material, thumbs)
    if not pair or pair[1] in (columns.output, columns.messages):
        return
    rejected, chosen = pair[1], columns.messages or columns.output
    number = _count_answers(material, rejected)
    if number:
        yield material.finding(
            "preference",
            "note",
            [],
            f"{format_rows('have', number, len(material.rows))} a worse answer in the column {rejected}. Étude trains "
            f"on {chosen}; {rejected} is neither trained on nor checked.",
            "To train on the better answers only, you need not do anything. To train on both, set preferences: to the "
            "file and add prefer to methods:.",
            numbers={"rows": number, "of": len(material.rows)},
        )


def _check_thumbs(material: Material, column: str) -> Iterator[Finding]:
    """Report the rows with a thumbs-down, which are not among the examples."""
    file = material.task.examples.file
    values = formats.read_values(file, column)
    locations = tuple(f"{file.name}:{line}" for line, value in values if is_thumbs_down(value))
    if locations:
        total = len(locations) + len(material.rows)
        finding = material.finding(
            "preference",
            "note",
            [],
            f"{format_rows('have', len(locations), total)} {column}: false, a thumbs-down. Such answers are used "
            "neither for training nor for the test.",
            f"Nothing to do. If {column} means something else, set it as output: or in tags: under examples:.",
            numbers={"rows": len(locations), "of": total},
        )
        yield replace(finding, locations=locations)


def _count_answers(material: Material, column: str) -> int:
    values = formats.read_values(material.task.examples.file, column)
    line, value, number = 0, None, 0
    for row in material.rows:
        row_line = parse_location(row.location)[1]
        while line < row_line:
            line, value = next(values, (row_line, None))
        turn = value[-1] if isinstance(value, list) and value else value
        text = turn.get(turns.find_key(turn, turns.TEXT_KEYS)) if isinstance(turn, dict) else turn
        number += isinstance(text, str) and bool(text.strip())
    return number


@finds(
    FindingKind("label_spelling", "warning", "labels with several spellings"), tasks=LABELS, by_question=True
)
def check_label_spelling(material: Material) -> Iterator[Finding]:
    """Find labels that differ from a more frequent one only in case, spaces, hyphens, underscores or one letter."""
    label_rows = material.label_rows
    spellings = find_spellings([label for label, _ in label_rows])
    if not spellings:
        return
    rows = sorted({label_rows[position][1] for spelling in spellings for position in spelling.positions})
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
    "the first gains appear at 50 to 100 well-made examples (OpenAI's guide to supervised fine-tuning)"
)
# Published results on other tasks and larger models are only a rough guide: a comparison measures what this task needs.
USUAL_SIZES: Mapping[Kind, UsualSize] = {
    "classify": UsualSize(
        50,
        "a tuned model with 7 billion weights, on 77 labels, had an accuracy of 69% with 13 examples per label, 87% "
        "with 53 and 92% with 106 (Bertsch et al. 2025, arXiv 2405.00200)",
    ),
    "extract": UsualSize(
        500,
        f"{_FIRST_GAINS}; about 500 examples were enough to extract records from scientific texts (Dunn et al. 2022, "
        "arXiv 2212.05238)",
    ),
    "answer": UsualSize(
        1_000,
        f"{_FIRST_GAINS}; 1,000 selected examples were enough to learn a style of answering (Zhou et al. 2023, "
        "arXiv 2305.11206)",
    ),
    "rewrite": UsualSize(
        1_000,
        f"{_FIRST_GAINS}; translations became worse with 1,000 to 2,000 examples and better from 5,000 on (Vieira et "
        "al. 2024, arXiv 2409.03454)",
    ),
}


@finds(
    FindingKind("few_rows", "warning, note", "fewer rows than such tasks usually need, with sources"),
    by_question=True,
)
def check_few_rows(material: Material) -> Iterator[Finding]:
    """Report sets with fewer examples than tasks of their kind usually need, unless `too_few` is already reported."""
    usual, rows = USUAL_SIZES[material.task.kind], len(material.rows)
    is_classify = material.task.kind == "classify"
    counts = merge_spellings(Counter(label for label, _ in material.label_rows)) if is_classify else Counter()
    labels, num_labelled = (len(counts), sum(counts.values())) if is_classify else (1, rows)
    if num_labelled >= usual.rows * labels or any(issue.kind == "too_few" for issue in material.issues):
        return
    average = num_labelled / max(labels, 1)
    per_label = f" for {format_count(labels, 'label')}, {average:,.0f} each on average"
    needed, parts = dataset.count_min_rows(has_own_test=material.test is not None)
    num_to_train = dataset.count_min_rows(True, dataset.TRAIN_MIN)[0]
    refusal = f" A comparison needs {needed} rows ({parts}); etude train needs {num_to_train}."
    is_warning = rows < dataset.MIN_VERDICT_ROWS
    yield material.finding(
        "few_rows",
        "warning" if is_warning else "note",
        [],
        f"{format_count(rows, 'row')}{per_label if is_classify else ''}, fewer than tasks of this kind usually need."
        f"{refusal if rows < needed else ''} Published results for such tasks: {usual.report}.",
        "Improve the prompt or collect more examples first, and fix the other findings."
        if is_warning
        else "Run etude compare to see whether these are enough.",
        numbers={"usual": usual.rows * labels},
    )
