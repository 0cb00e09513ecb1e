"""Show what training would learn from some rows. Nothing is trained and nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etude.data.dataset import PREVIEW_MIN
from etude.methods.shared.training_rows import list_left_out, sample_share
from etude.methods.shared.training_run import build_training_run
from etude.models.registry import Models
from etude.runs.split import compute_split
from etude.tuning.train import METHOD, build_student, choose_min_sizes, open_training_task


@dataclass(frozen=True)
class PreviewSpan:
    """A part of a row's text."""

    text: str
    learned: bool  # whether its tokens have weight in the loss; otherwise the model only reads them
    special: bool  # whether it consists of special tokens, such as the end of turn


@dataclass(frozen=True)
class PreviewRow:
    """One row as training sees it."""

    location: str  # `file:line`
    reason: str  # why this row was chosen, such as "the longest"
    spans: Sequence[PreviewSpan]


@dataclass(frozen=True)
class Preview:
    """The settings of training and some rows."""

    supervision: Sequence[str]
    settings: Sequence[tuple[str, object, str]]
    defaults: Mapping[str, object]
    rows: Sequence[PreviewRow]  # different rows, from the shortest to the longest


def preview(task_file: Path | str, num_rows: int) -> Preview:
    """Show at most `num_rows` rows as `train` would learn them. Raises the errors that `train`
    raises for the task, its rows and the weights, except the error for too few rows.
    """
    from etude.training.rows.supervision import split_pieces

    task_run = open_training_task(task_file, least=PREVIEW_MIN)
    task = task_run.task
    run = task_run.run
    min_sizes = (*choose_min_sizes(task_run), PREVIEW_MIN)
    split = compute_split(run, task, task_run.dataset, task_run.test, min_sizes)
    if not len(split.dev):  # too few rows to train on; that does not matter here
        split = replace(split, dev=split.train)
    models = Models()
    student = build_student(task, split, models)
    share = sample_share(METHOD, task, split.train)
    model = models.get_trainable(student.model)
    training_run = build_training_run(
        task, student, share.examples, split.dev, model, left_out=list_left_out(split.train, share)
    )
    tokenizer = model.tokenizer
    special = frozenset(model.tokenizer.all_special_ids)
    rows = [
        PreviewRow(
            row.id, reason, [PreviewSpan(*piece) for piece in split_pieces(tokenizer, row, special)]
        )
        for row, reason in training_run.choose_rows_to_show(num_rows)
    ]
    return Preview(
        training_run.supervision, training_run.settings, training_run.config.defaults, rows
    )
