"""Measure how much an exported assistant loses: let it answer the test rows again."""

from dataclasses import dataclass, replace

from etude.assistant import Assistant
from etude.base.formatting import format_difference, format_difference_interval, format_percent
from etude.data.dataset import TRAIN_MIN
from etude.errors import RunError
from etude.evaluate import RowOutcome, build_sample, parse_outcome
from etude.metrics import predicted_label, restore_metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.lifecycle import load_task_rows
from etude.stats import compare_paired
from etude.types import Estimate, ModelRef

NO_TEST = "or export with --no-test"


@dataclass(frozen=True)
class Retest:
    """Test rows answered by an exported assistant, compared with the predictions of the run on the
    same rows.
    """

    score_before: float
    score_after: float
    difference: Estimate  # after minus before, paired
    num_equal: int  # rows with the same answer
    margin: float

    @property
    def is_worse(self) -> bool:
        return self.difference.value < -self.margin

    @property
    def sentence(self) -> str:
        before = format_percent(self.score_before)
        after = format_percent(self.score_after)
        difference = format_difference(self.difference.value)
        interval = format_difference_interval(self.difference)
        return (
            f"On {self.difference.n} test rows: {after} after the export, {before} before; "
            f"difference {difference} points (95% interval {interval}), {self.num_equal} answers "
            "equal."
        )


def measure_loss(
    run: Run, assistant: Assistant, model: ModelRef, num_rows: int | None = None
) -> Retest:
    """Answer the first `num_rows` test rows of a run (default: all) with the assistant and the
    weights of `model`.

    Raises RunError if the run has no test predictions of the assistant's method, or if its rows
    have changed.
    """
    # 1. Find the rows that the run has answered.
    predictions = run.read_predictions(assistant.method)
    predictions = [line for line in predictions if line["side"] == "test"][:num_rows]
    if not predictions:
        raise RunError(
            f"{run.name} has no test answers of {assistant.method}. Run etude compare again, "
            f"{NO_TEST}."
        )
    task, dataset, test = load_task_rows(run.task_file, None, TRAIN_MIN)
    rows_by_id = {(row.id, row.output): row for row in [*dataset, *(test or ())]}
    keys = [(line["id"], line["expected"]) for line in predictions]
    rows = [rows_by_id[key] for key in keys if key in rows_by_id]
    if len(rows) < len(keys):
        raise RunError(
            f"The examples have changed since {run.name}. Run etude compare again, {NO_TEST}."
        )
    # 2. Answer them with the exported weights and score the answers.
    check = task.check.load() if task.check else None
    metric = restore_metric(run.info["metric"], task.kind, check)
    models = Models(endpoints=task.endpoints)
    answers = replace(assistant, model=model, scope=None).answer(
        [row.input for row in rows], models
    )
    before = [parse_outcome(line) for line in predictions]
    after = [
        RowOutcome(
            metric.score(row, answer).value, row.output, predicted_label(answer), line["unit"]
        )
        for row, answer, line in zip(rows, answers, predictions, strict=True)
    ]
    # 3. Compare, paired by row.
    sample_before = build_sample(metric, before)
    sample_after = build_sample(metric, after)
    num_equal = sum(
        pair[0].predicted == pair[1].predicted for pair in zip(before, after, strict=True)
    )
    difference = compare_paired(sample_after, sample_before).difference
    return Retest(sample_before.value, sample_after.value, difference, num_equal, task.margin)
