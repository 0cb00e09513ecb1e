"""prefer: weights trained on the training rows, then on people's preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from math import inf
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from etude.base.files import read_json, write_json
from etude.errors import InputError
from etude.methods.fine_tune import METHOD as FINE_TUNE
from etude.methods.fine_tune import FineTune, learns_by_itself
from etude.methods.method import Assistant, Candidate, Dataset, Example, FitContext, Task
from etude.methods.shared.training_run import CUT, TrainingRun, build_token_rows, choose_config
from etude.stats import estimate_sample, make_score_sample
from etude.types import Preference, TrainableModel

if TYPE_CHECKING:
    from etude.training import Loss
    from etude.training.rows.batches import TokenRow

MIN_PREFERENCES = 10
"""Minimum number of pairs for training (for KTO: answers). Choosing the epoch needs one pair (four
answers).
"""
RATE_SHARE = (
    0.3  # times the learning rate of fine_tune; better than 0.1 on the dev pairs of bench/polite.py
)
EPOCHS = 3
PAIRS_PER_STEP = 8
# part of a row's id: which of the two answers it is
BETTER = "better"
WORSE = "worse"


class Prefer(FineTune):
    """The weights of fine_tune, trained further on pairs of a better and a worse answer by DPO, or
    by the loss that `train: {preference_loss: ...}` sets (`kto` also learns from thumbs). `beta`
    keeps them close to fine_tune. The epoch with the most dev pairs in the right order is kept;
    with KTO, the one with the lowest dev loss. Epoch 0, before this training, can be kept too.
    """

    name = "prefer"
    label = "Tuned small model, then on preferences"
    same_rows_as = "fine_tune"
    keys = ("model", "train", "preferences")

    def missing_key(self, task: Task) -> str:
        """Require preferences."""
        return "" if task.preferences else "preferences"

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Load or fit the assistant of fine_tune and train it on preferences."""
        tuned = self._fit_tuned(task, train, dev, start, context)
        if learns_by_itself(task):
            context.notes.append(
                "the model cannot learn preferences, so this method gives the same answers as "
                "fine_tune"
            )
        else:
            tuned = self.train_on_preferences(task, tuned, context)
        return context.choose([Candidate("best epoch", tuned)], dev).assistant

    def _fit_tuned(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        fitted = (
            folder for folder in context.lower_folders if folder.parent.name == FINE_TUNE.name
        )
        inner = replace(
            context,
            folder=next(fitted, context.folder / FINE_TUNE.name),
            trials=[],
            notes=[],
            params={},
            train_seconds=0.0,
            answer_seconds=0.0,
        )
        # In the folder of fine_tune, if the run has it: its adapter and answers are then reused.
        tuned = FINE_TUNE.fit(task, train, dev, start, inner)
        context.has_learned = inner.has_learned
        context.num_trained = inner.num_trained
        context.is_cut = inner.is_cut
        context.full_seconds = inner.full_seconds
        if inner.params.get("reasons", {}).get("epochs") == CUT:
            context.params["reasons"] = {"epochs": CUT}
        context.train_seconds += inner.train_seconds
        context.answer_seconds += inner.answer_seconds
        return replace(tuned, method=self.name)

    def train_on_preferences(self, task: Task, tuned: Assistant, context: FitContext) -> Assistant:
        """Train the tuned weights on preferences, from the last checkpoint if an earlier attempt
        was stopped.
        """
        folder = context.folder / "preferences"
        record_file = folder / "trained.json"
        adapter = context.folder / "adapter"
        if not record_file.exists():
            model = context.models.get_trainable(tuned.model)
            run, measure = _build_run(task, tuned, model, context)
            context.log({"supervision": list(run.supervision)})
            result = run.train(folder, task.model, context.log, measure, context.make_box())
            _merge_adapters(tuned, folder / "adapter", adapter, task)
            write_json(record_file, asdict(result))
        record = read_json(record_file)
        reasons = record["params"].get("reasons", {}) | context.params.get("reasons", {})
        context.params.update(record["params"], reasons=reasons)
        context.train_seconds += record["params"]["seconds"]
        context.notes.extend(record["notes"])
        return replace(tuned, model=replace(tuned.model, adapter=adapter))


METHOD = Prefer()


def _build_run(
    task: Task, tuned: Assistant, model: TrainableModel, context: FitContext
) -> tuple[TrainingRun, Callable[[], Mapping[str, Any]]]:
    from etude.training.preference_losses import add_mismatched_rows, compute_log_probs

    config = choose_config(task, model, len(context.preferences.get("train", ())))
    is_kto = task.train.get("preference_loss") == "kto"
    build_rows = _build_answers if is_kto else _build_pairs
    learned, chosen_by = (
        build_rows(tuned, model, context.preferences.get(side, ()), config.max_tokens)
        for side in ("train", "dev")
    )
    rows, dev_rows = (
        add_mismatched_rows(side) if is_kto else side for side in (learned, chosen_by)
    )
    if len(rows) < 2 * MIN_PREFERENCES or not dev_rows:
        got = f"{len(rows) // 2} in train and {len(dev_rows) // 2} in dev"
        needed = f"at least {MIN_PREFERENCES} in train and {'four' if is_kto else 'one'} in dev"
        remedy = "collect more, or leave prefer out of methods:"
        raise InputError.of(
            "preferences", f"too few preferences: prefer needs {needed}", got, remedy
        )
    config = replace(
        config,
        learning_rate=config.learning_rate * RATE_SHARE,
        rows_per_step=2 * PAIRS_PER_STEP,
        epochs=min(EPOCHS, int(task.train.get("epochs", EPOCHS))),
        dropout=0.0,
    )
    # Log-probabilities of the weights before this training; the loss compares with them.
    reference = compute_log_probs(model.module, [*rows, *dev_rows], config.micro_tokens)
    loss = _build_loss(task, reference, [*learned, *chosen_by])
    unit, rows_per_unit = ("answers", 1) if is_kto else ("pairs", 2)
    num_preferences = sum(
        bool(preference.chosen) + bool(preference.rejected) if is_kto else 1
        for side in ("train", "dev")
        for preference in context.preferences[side]
    )
    num_own = sum(row.input[0].role == "system" for row in chain(*context.preferences.values()))
    num_learned = len(learned) // rows_per_unit
    num_dev = len(chosen_by) // rows_per_unit
    supervision = (
        f"{num_learned:,} {unit} are trained on with {loss.name}, and {num_dev:,} are used to "
        "choose the epoch.",
        f"Left out because they are too long: {num_preferences - num_learned - num_dev:,} {unit}.",
        *(
            [f"{num_own:,} preferences are trained with their own system message or functions."]
            if num_own
            else []
        ),
    )
    run = TrainingRun(model, rows, dev_rows, config, supervision, (), loss=loss)
    measure = partial(_measure_pairs, model, dev_rows, reference, config.micro_tokens)
    return run, dict if is_kto else measure


def _build_pairs(
    tuned: Assistant, model: TrainableModel, preferences: Sequence[Preference], max_tokens: int
) -> list[TokenRow]:
    """Build two rows for each pair that fits, the better answer first. Raises InputError for
    thumbs.
    """
    if thumbs := [
        row.location or row.id for row in preferences if not (row.chosen and row.rejected)
    ]:
        remedy = "set train: {preference_loss: kto}"
        raise InputError.of(
            "preferences", "a rating of one answer is not a pair of answers", thumbs[0], remedy
        )
    rows = _build_answers(tuned, model, preferences)
    pairs = zip(rows[: len(preferences)], rows[len(preferences) :], strict=True)
    return [
        row for pair in pairs if max(len(row.ids) for row in pair) <= max_tokens for row in pair
    ]


def _build_answers(
    tuned: Assistant,
    model: TrainableModel,
    preferences: Sequence[Preference],
    max_tokens: float = inf,
) -> list[TokenRow]:
    """Build a row for each answer that fits: first the answers that people prefer or like, then the
    other answers.
    """
    rows = []
    for side in (BETTER, WORSE):
        for number, preference in enumerate(preferences):
            answer = preference.chosen if side == BETTER else preference.rejected
            if answer:
                # Only the last answer is learned, not earlier ones of the chat.
                turns = tuple(replace(turn, trained=False) for turn in preference.input)
                row = Example(
                    f"{preference.location or preference.id} {side} {number}", turns, answer
                )
                rows.append(build_token_rows(model, tuned, [row])[-1])
    return [row for row in rows if len(row.ids) <= max_tokens]


def _build_loss(task: Task, reference: Mapping[str, float], answers: Sequence[TokenRow]) -> Loss:
    from etude.training.preference_losses import BETA, dpo, kto

    beta = float(task.train.get("beta", BETA))
    if task.train.get("preference_loss") == "kto":
        good = {row.id: row.id.rsplit(" ", 2)[1] == BETTER for row in answers}
        num_good = max(1, sum(good.values()))
        num_bad = max(1, len(good) - num_good)
        # The rarer kind weighs more, so both kinds weigh the same.
        weights = max(1.0, num_bad / num_good), max(1.0, num_good / num_bad)
        return kto(reference, good, beta, weights)
    return dpo(reference, beta)


def _measure_pairs(
    model: TrainableModel,
    dev_rows: Sequence[TokenRow],
    reference: Mapping[str, float],
    micro_tokens: int,
) -> Mapping[str, Any]:
    """Measure the share of dev pairs whose better answer gained more probability, with its
    interval.
    """
    from etude.training.preference_losses import accuracy, compute_log_probs

    is_right = accuracy(
        compute_log_probs(model.module, dev_rows, micro_tokens), reference, dev_rows
    )
    estimate = estimate_sample(make_score_sample(is_right, [row.id for row in dev_rows[0::2]]))
    return {"score": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _merge_adapters(tuned: Assistant, preferring: Path, adapter: Path, task: Task) -> None:
    from etude.models.local.adapters import stack_adapters

    rmtree(adapter, ignore_errors=True)
    if tuned.model.adapter is None:
        preferring.rename(adapter)
    else:
        stack_adapters(tuned.model.adapter, preferring, adapter, task.model)
