"""prefer: weights trained on the training rows, then on which of two answers people prefer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, ClassVar

from etude.assistant import Assistant
from etude.base.files import read_json, write_json
from etude.data.dataset import Dataset
from etude.data.preferences import read_preferences
from etude.errors import InputError, Issue
from etude.methods.fine_tune import METHOD as FINE_TUNE
from etude.methods.fine_tune import FineTune, learns_by_itself
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import TrainingTime
from etude.methods.tuned.training_run import CUT, TrainingRun, config_for, token_rows
from etude.models.registry import Models
from etude.stats.intervals import estimate_sample
from etude.stats.sample import score_sample
from etude.task import Task
from etude.types import Example, Preference, TrainableModel

if TYPE_CHECKING:
    from etude.training import Loss
    from etude.training.rows.batches import TokenRow

LEAST = 10
"""Pairs to learn from, and one to choose by, without which nothing is trained; for KTO answers, four to choose by."""
RATE_SHARE = 0.3
"""Share of the learning rate of fine_tune: by dev pairs of bench/polite.py better than 0.1."""
EPOCHS = 3
PAIRS_PER_STEP = 8
BETTER, WORSE = "better", "worse"
"""What the id of a row says of its answer."""


@dataclass(frozen=True)
class Prefer(FineTune):
    """The weights of fine_tune, trained further on pairs of a better and a worse answer by DPO, or as
    `train: {preference_loss: ipo}` says (`kto` takes thumbs too); `beta` holds them to what fine_tune learned. The
    epoch with the most pairs of dev in the right order is kept, by KTO the one with the lowest dev loss; the untrained
    one is among them."""

    name: ClassVar[str] = "prefer"
    label: ClassVar[str] = "Fine-tuned, then on preferences"
    keys: ClassVar[tuple[str, ...]] = ("model", "train", "preferences")

    def missing(self, task: Task) -> str:
        """Preferences are needed."""
        return "" if task.preferences else "preferences"

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Takes what fine_tune has fitted, or fits it, and trains it on preferences."""
        tuned = self._tuned(task, train, dev, start, context)
        if learns_by_itself(task):
            context.notes.append(
                "the model learns rows by heart and no preferences: its answers are fine_tune's"
            )
        else:
            tuned = self._preferring(task, tuned, context)
        return context.choose([Candidate("best epoch", tuned)], dev).assistant

    def training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """A pair takes as long as two rows of fine_tune and its reference, and fine_tune itself counts if no lower step
        is it."""
        seconds = super().training_time(task, start, train, models, answer)
        if seconds is None or task.preferences is None:
            return None
        rows = 2 * len(read_preferences(task.preferences))

        def both(num_rows: int, num_dev: int, most_epochs: int | None) -> float:
            before = 0.0 if FINE_TUNE.name in task.methods else seconds(num_rows, num_dev, most_epochs)
            return before + seconds(rows, rows // 5, EPOCHS)

        return both

    def _tuned(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """The assistant of fine_tune: as the run has fitted it, or fitted here."""
        fitted = (folder for folder in context.lower if folder.parent.name == FINE_TUNE.name)
        inner = replace(
            context,
            folder=next(fitted, context.folder / FINE_TUNE.name),
            tried=[],
            notes=[],
            params={},
            train_seconds=0.0,
            answer_seconds=0.0,
        )
        tuned = FINE_TUNE.fit(task, train, dev, start, inner)
        context.learned = inner.learned
        if inner.params.get("reasons", {}).get("epochs") == CUT:
            context.params["reasons"] = {"epochs": CUT}
        context.train_seconds += inner.train_seconds
        context.answer_seconds += inner.answer_seconds
        return replace(tuned, method=self.name)

    def _preferring(self, task: Task, tuned: Assistant, context: FitContext) -> Assistant:
        """`tuned` with the adapter that preferences give; trained once, and gone on with after a kill."""
        folder = context.folder / "preferences"
        done, adapter = folder / "trained.json", context.folder / "adapter"
        if not done.exists():
            model = context.models.trainable(tuned.model)
            run, measure = _run(task, tuned, model, context)
            context.log({"supervision": list(run.supervision)})
            facts = run.train(folder, task.model, context.log, measure)
            _take_over(tuned, folder / "adapter", adapter, task)
            write_json(done, asdict(facts))
        kept = read_json(done)
        reasons = kept["params"].get("reasons", {}) | context.params.get("reasons", {})
        context.params.update(kept["params"], reasons=reasons)
        context.train_seconds += kept["params"]["seconds"]
        context.notes.extend(kept["notes"])
        return replace(tuned, model=replace(tuned.model, adapter=adapter))


METHOD = Prefer()


def _run(
    task: Task, tuned: Assistant, model: TrainableModel, context: FitContext
) -> tuple[TrainingRun, Callable[[], Mapping[str, Any]]]:
    """The training run on preferences, and what measures an epoch."""
    from etude.training.preferences import log_probs, mismatched

    config = config_for(task, model, len(context.preferences.get("train", ())))
    is_kto = task.train.get("preference_loss") == "kto"
    made = _answers if is_kto else _pairs
    learned, chosen_by = (
        made(tuned, model, context.preferences.get(side, ()), config.max_tokens) for side in ("train", "dev")
    )
    rows, dev_rows = (mismatched(side) if is_kto else side for side in (learned, chosen_by))
    if len(rows) < 2 * LEAST or not dev_rows:
        got = f"{len(rows) // 2} to learn from and {len(dev_rows) // 2} to choose by"
        what = f"too few preferences: prefer takes {LEAST} and {'four answers' if is_kto else 'one'}"
        raise InputError([Issue("preferences", what, got, "Collect more, or leave prefer out of methods:")])
    config = replace(
        config,
        learning_rate=config.learning_rate * RATE_SHARE,
        rows_per_step=2 * PAIRS_PER_STEP,
        epochs=min(EPOCHS, int(task.train.get("epochs", EPOCHS))),
        dropout=0.0,
    )
    reference = log_probs(model.module, [*rows, *dev_rows], config.micro_tokens)
    loss = _loss(task, reference, [*learned, *chosen_by])
    what, size = ("answers", 1) if is_kto else ("pairs", 2)
    given = sum(
        bool(each.chosen) + bool(each.rejected) if is_kto else 1
        for side in ("train", "dev")
        for each in context.preferences[side]
    )
    num_learned, num_dev = len(learned) // size, len(chosen_by) // size
    said = (
        f"{num_learned:,} {what} are learned, and {num_dev:,} choose the epoch; {loss.name}.",
        f"Left out, because they are too long: {given - num_learned - num_dev:,} {what}.",
    )
    run = TrainingRun(model, rows, dev_rows, config, said, (), loss=loss)
    measure = partial(_measured, model, dev_rows, reference, config.micro_tokens)
    return run, dict if is_kto else measure


def _pairs(
    tuned: Assistant, model: TrainableModel, preferences: Sequence[Preference], most: int
) -> list[TokenRow]:
    """Two rows for each pair that fits, the better answer first. Raises InputError for thumbs, which are no pairs."""
    alone = [each.location or each.id for each in preferences if not (each.chosen and each.rejected)]
    if alone:
        what, remedy = "thumbs are no pairs", "set train: {preference_loss: kto}"
        raise InputError([Issue("preferences", what, alone[0], remedy)])
    rows = _answers(tuned, model, preferences)
    pairs = zip(rows[: len(preferences)], rows[len(preferences) :], strict=True)
    return [row for pair in pairs if max(len(row.ids) for row in pair) <= most for row in pair]


def _answers(
    tuned: Assistant, model: TrainableModel, preferences: Sequence[Preference], most: float = inf
) -> list[TokenRow]:
    """A row for each answer that fits, first those that people prefer or like, then the others."""
    found = []
    for side in (BETTER, WORSE):
        for number, each in enumerate(preferences):
            answer = each.chosen if side == BETTER else each.rejected
            if answer:
                asked = tuple(replace(turn, trained=False) for turn in each.input)
                row = Example(f"{each.location or each.id} {side} {number}", asked, answer)
                found.append(token_rows(model, tuned, [row])[-1])
    return [row for row in found if len(row.ids) <= most]


def _loss(task: Task, reference: Mapping[str, float], answers: Sequence[TokenRow]) -> Loss:
    from etude.training.preferences import BETA, dpo, ipo, kto, orpo

    beta = float(task.train.get("beta", BETA))
    name = task.train.get("preference_loss", "dpo")
    if name == "orpo":
        return orpo(beta)
    if name == "kto":
        good = {row.id: row.id.rsplit(" ", 2)[1] == BETTER for row in answers}
        num_good = max(1, sum(good.values()))
        num_bad = max(1, len(good) - num_good)  # the fewer weigh more, so that both kinds weigh the same
        weights = max(1.0, num_bad / num_good), max(1.0, num_good / num_bad)
        return kto(reference, good, beta, weights)
    return ipo(reference, beta) if name == "ipo" else dpo(reference, beta)


def _measured(
    model: TrainableModel, dev_rows: Sequence[TokenRow], reference: Mapping[str, float], micro_tokens: int
) -> Mapping[str, Any]:
    """Share of dev pairs whose better answer has gained more, with its interval."""
    from etude.training.preferences import accuracy, log_probs

    found = accuracy(log_probs(model.module, dev_rows, micro_tokens), reference, dev_rows)
    estimate = estimate_sample(score_sample(found, [row.id for row in dev_rows[0::2]]))
    return {"score": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _take_over(tuned: Assistant, preferring: Path, adapter: Path, task: Task) -> None:
    """The two adapters as one; if all weights are tuned, those of the second training."""
    from etude.models.adapters import stack

    rmtree(adapter, ignore_errors=True)
    if task.train.get("weights") == "full" or tuned.model.adapter is None:
        preferring.rename(adapter)
    else:
        stack(tuned.model.adapter, preferring, adapter, task.model)
