"""The base of methods that train a small encoder and use no language model."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from etude.base.files import read_json, write_json
from etude.errors import ModelError, format_install
from etude.index.build import DEFAULT_ENCODER
from etude.methods.method import Assistant, Candidate, Dataset, FitContext, Method, Task
from etude.models.weights import find_weights
from etude.types import CLASSICAL, Example, ModelRef

if TYPE_CHECKING:
    from etude.models.classical import Predictor
    from etude.training.encoder_loop import EncoderTraining

RECORD = "trained.json"


@dataclass(frozen=True)
class PreparedTraining:
    """The training of an encoder with a head."""

    training: EncoderTraining
    num_rows: int
    score: Callable[[], float]
    """The score of the current weights on dev, by which the epoch is chosen."""
    build_predictor: Callable[[], Predictor]
    """Builds what is saved, from the weights of the best epoch."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """More facts for the record, such as `notes` for the user."""


class EncoderMethod(Method):
    """Trains the encoder and a head once, and records this, so that a killed run can continue."""

    tuned = True
    prompted = False
    asks_model = False
    keys = ("encoder",)
    kind: ClassVar[str]  # the only kind of task that it is for
    weights: ClassVar[str]  # the folder of its weights

    def missing_key(self, task: Task) -> str:
        """Require the kind of task that the method is for, the packages that train, and an
        encoder.
        """
        if task.kind != self.kind:
            return f"kind: {self.kind}"
        if find_spec("torch") is None:
            return f"the extra 'train' ({format_install('train')})"
        return "an encoder:" if task.encoder == "none" else ""

    def is_supported(self, task: Task) -> bool:
        """Whether the packaged encoder is installed, or the task sets another one."""
        if task.encoder:
            return True
        try:
            find_weights(DEFAULT_ENCODER)
        except ModelError:
            return False
        return True

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Train on the rows of `train`. After a kill, continue from the last complete epoch."""
        from etude.models.classical import save_classical

        record_file = context.folder / RECORD
        folder = context.folder / self.weights
        rows = train.examples[:]
        if not record_file.exists():
            started = time.perf_counter()
            prepared = self.prepare_training(task, rows, dev, context)
            # The seconds since `started` are part of the time of the training.
            epochs = context.folder / "epochs"
            box = context.make_box(started)
            result = prepared.training.train(epochs, prepared.score, context.log, box)
            save_classical(prepared.build_predictor(), folder)
            counts = {"rows": prepared.num_rows, "epochs": len(result.scores) - 1}
            counts["trained_rows"] = round(result.trained_share * prepared.num_rows)
            seconds = {"seconds": time.perf_counter() - started}
            write_json(record_file, {**asdict(result), **counts, **seconds, **prepared.facts})
        record = read_json(record_file)
        context.train_seconds += record["seconds"]
        context.params.update(record)
        context.record_training(record["trained_rows"])
        if record["steps"] < record["planned_steps"]:
            context.is_cut = True
            context.full_seconds = record["seconds"] * record["planned_steps"] / record["steps"]
        context.notes.extend(record.get("notes", ()))
        assistant = replace(
            start.without_examples(),
            method=self.name,
            model=ModelRef(CLASSICAL, folder),
            instructions="",
            search=None,
        )
        return context.choose([Candidate("best epoch", assistant)], dev, cheap=True).assistant

    @abstractmethod
    def prepare_training(
        self, task: Task, rows: Sequence[Example], dev: Dataset, context: FitContext
    ) -> PreparedTraining:
        """Prepare the training of an encoder with the method's head."""
