"""An exported assistant answers test rows again: what is lost on the way, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from etude.assistant import Assistant
from etude.base.wording import percent, signed, signed_bounds
from etude.data.dataset import TRAINED
from etude.errors import RunError
from etude.evaluate import Outcome, outcome_of, sample_of
from etude.metrics import Metric, predicted_label
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.lifecycle import read_task
from etude.stats import headline
from etude.types import Estimate, ModelRef


@dataclass(frozen=True)
class Retest:
    """Test rows answered by an exported assistant, beside what the comparison noted of the same rows."""

    before: float
    after: float
    difference: Estimate
    """After minus before, paired."""
    equal: int
    """Rows with the same answer."""
    margin: float

    @property
    def loses(self) -> bool:
        """Whether it loses more than the task's margin."""
        return self.difference.value < -self.margin

    @property
    def sentence(self) -> str:
        """All of it in words."""
        found = self.difference
        return (
            f"On {found.n} test rows: {percent(self.after)} exported, {percent(self.before)} before; difference "
            f"{signed(found.value)} points (95% interval {signed_bounds(found)}), {self.equal} answers equal."
        )


def retest(run: Run, assistant: Assistant, model: ModelRef, rows: int | None = None) -> Retest:
    """Answers the first `rows` test rows of a run (all by default) with the assistant on other weights.

    Raises RunError if the run has no test answers of the assistant's method, or its rows have changed.
    """
    noted = [line for line in run.predictions(assistant.method) if line["side"] == "test"][:rows]
    if not noted:
        raise RunError(
            f"{run.name} has no answers of {assistant.method} to test rows. Export with --no-test."
        )
    task, dataset, test = read_task(run.task_file, None, TRAINED)
    examples = {(row.id, row.output): row for row in [*dataset, *(test or ())]}
    asked = [examples.get((line["id"], line["expected"])) for line in noted]
    known = [row for row in asked if row is not None]
    if len(known) < len(asked):
        raise RunError(
            f"The examples of {run.name} have changed since. Compare again, or export with --no-test."
        )
    check = task.check.load() if task.check else None
    metric = Metric(run.info["metric"]["name"], task.kind, check)
    models = Models(endpoints=task.endpoints)
    answers = replace(assistant, model=model).answer([row.input for row in known], models)
    after = [
        Outcome(metric.score(row, answer).value, row.output, predicted_label(answer), line["unit"])
        for row, answer, line in zip(known, answers, noted, strict=True)
    ]
    return _compared(metric, [outcome_of(line) for line in noted], after, task.margin)


def _compared(metric: Metric, before: Sequence[Outcome], after: Sequence[Outcome], margin: float) -> Retest:
    one, two = sample_of(metric, before), sample_of(metric, after)
    equal = sum(a.predicted == b.predicted for a, b in zip(before, after, strict=True))
    return Retest(one.value, two.value, headline(two, one).difference, equal, margin)
