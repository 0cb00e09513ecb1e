"""The training loop of a small encoder: AdamW trains a module, and the epoch with the best score is
chosen.

The state is saved after every epoch, so a killed run resumes and ends with the same weights. The
caller passes the loss: contrastive.py for search, classifier.py for labels, tagging.py for the
values of fields.
"""

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from etude.base.files import atomic_file
from etude.models.local.encoder import Encoder
from etude.training.threads import ThreadChoice
from etude.training.time_box import TimeBox

STATE = "state.safetensors"
ATTENTION = "eager"
"""Plain products, which are faster on two CPU cores: an epoch of Luma takes 31 s, and 49 s with
torch's fused kernel, whose backward pass takes a third of a step.
"""
LENGTH_NOISE = 1.2
"""Lengths of rows in a batch differ by about this factor at most; above 1, each epoch has other
batches.
"""
WARM_UP = 0.1
"""The share of steps in which the learning rate rises."""
EncoderLoss = Callable[[Sequence[int], random.Random], tuple[torch.Tensor, int]]
"""(row numbers, random source) -> the loss of these rows, and the number of tokens computed for
it.
"""
BeginEpoch = Callable[[], EncoderLoss]
"""Called at the start of each epoch. Builds the loss of that epoch from the current weights."""


@dataclass(frozen=True)
class LoopConfig:
    """The settings of the loop."""

    epochs: int
    rows_per_step: int
    learning_rate: float
    seed: int = 0

    def count_steps(self, num_rows: int) -> int:
        """Count the steps of all epochs on `num_rows` rows."""
        return math.ceil(num_rows / self.rows_per_step) * self.epochs


@dataclass(frozen=True)
class TunedEncoder:
    """The result of training an encoder."""

    scores: tuple[float, ...]
    """The caller's score before training and after each epoch. The weights are from the best
    epoch.
    """
    best_epoch: int
    seconds: float
    steps: int = 0
    planned_steps: int = 0
    """The number of steps of all epochs; a time box may end before."""
    trained_share: float = 1.0
    """The share of all rows that were in these steps."""


@dataclass(frozen=True)
class LoopRule:
    """Chooses the settings for a number of rows: the fewer rows, the more epochs, for at least
    `min_steps` steps.
    """

    rows_per_step: int
    learning_rate: float
    min_steps: int
    min_epochs: int
    max_epochs: int

    def choose_config(self, num_rows: int, seed: int = 0) -> LoopConfig:
        """Choose the settings; the limits of epochs come before that of steps."""
        epochs = math.ceil(self.min_steps / math.ceil(num_rows / self.rows_per_step))
        epochs = min(self.max_epochs, max(self.min_epochs, epochs))
        return LoopConfig(epochs, self.rows_per_step, self.learning_rate, seed)


@contextmanager
def _use_training_attention(encoder: Encoder) -> Iterator[None]:
    """Context manager: use the attention that is fastest for training; then again the one fastest
    for answers.
    """
    encoder.module.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        encoder.module.set_attn_implementation("sdpa")


@dataclass(frozen=True, eq=False)
class EncoderTraining:
    """All that a training depends on, apart from its folder and how epochs are scored."""

    encoder: Encoder
    module: torch.nn.Module
    """The weights that are trained: the encoder's or its last layers, and those of a head if there
    is one.
    """
    num_rows: int
    begin_epoch: BeginEpoch
    config: LoopConfig
    lengths: Sequence[int] = ()
    """The tokens of each row, to batch rows of similar length together."""
    first_epoch: int = 0
    """The first epoch whose weights may be chosen; 0 are the untrained ones."""

    def train(
        self,
        folder: Path,
        score: Callable[[], float],
        log: Callable[[Mapping[str, Any]], None] = lambda entry: None,
        box: TimeBox | None = None,
    ) -> TunedEncoder:
        """Train in place. At the end the module has the weights of the first epoch with the best
        `score`.

        `folder` contains the state between epochs. `log` gets a line for each step: step, steps,
        loss, tokens, seconds. With a `box`, training takes at least one step and ends within the
        box's seconds, in the middle of an epoch if need be; the learning rate falls with the used
        share of the box. Raises ValueError if there are no rows.
        """
        if not self.num_rows:
            raise ValueError("there are no rows to train on")
        started = time.perf_counter()
        config = self.config
        parameters = [parameter.requires_grad_(True) for parameter in self.module.parameters()]
        optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=0.01, fused=True
        )
        state = _EncoderState(self.module, optimizer, folder / STATE, self.first_epoch)
        state.load()
        total = config.count_steps(self.num_rows)
        box = box or TimeBox(math.inf)
        timer = _BoxTimer(box, state)
        is_limited = math.isfinite(box.seconds)
        # Steps in which the learning rate rises; after them it falls to zero.
        rise = max(1, round(WARM_UP * total))
        with _use_training_attention(self.encoder), ThreadChoice(is_limited=is_limited) as threads:
            if not state.scores:
                timer.add_score(score)
            for epoch in range(len(state.scores), config.epochs + 1):
                if timer.is_over:
                    break
                # The order depends only on seed and epoch, so a resumed run gets the same batches.
                draw = random.Random(f"{config.seed}/{epoch}")
                batches = self._draw_batches(draw)
                loss = self.begin_epoch()
                for step, rows in enumerate(batches, (epoch - 1) * len(batches)):
                    step_started = time.perf_counter()
                    used_before = timer.used
                    threads.begin_step()
                    # In a box, the position is the used share of it if that is further.
                    position = max(step, timer.used_share * total)
                    for group in optimizer.param_groups:
                        share = min(
                            (position + 1) / rise, (total - position) / max(1, total - rise)
                        )
                        group["lr"] = config.learning_rate * share
                    value, tokens = loss(rows, draw)
                    optimizer.zero_grad()
                    value.backward()  # type: ignore[no-untyped-call]
                    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                    optimizer.step()
                    entry = {
                        "step": step + 1,
                        "steps": total,
                        "loss": value.item(),
                        "tokens": tokens,
                    }
                    seconds = time.perf_counter() - step_started
                    threads.end_step(tokens, seconds)
                    log({**entry, "seconds": seconds, **timer.box.log_left(timer.used)})
                    timer.add_step(used_before)
                    if timer.is_over:
                        break
                timer.add_score(score)
        self.module.load_state_dict(state.best_weights)
        self.module.requires_grad_(False)
        self.encoder.is_tuned = True
        seconds = time.perf_counter() - started
        share = min(1.0, state.steps * config.rows_per_step / self.num_rows)
        return TunedEncoder(tuple(state.scores), state.best, seconds, state.steps, total, share)

    def _draw_batches(self, draw: random.Random) -> list[list[int]]:
        order = draw.sample(range(self.num_rows), self.num_rows)
        size = self.config.rows_per_step
        if self.lengths:
            order.sort(key=lambda row: self.lengths[row] * draw.uniform(1, LENGTH_NOISE))
        batches = [order[start : start + size] for start in range(0, self.num_rows, size)]
        if self.lengths:
            draw.shuffle(batches)
        return batches


class _EncoderState:
    """Current and best weights, the optimizer's moments, and the scores so far; saved to one file
    after each epoch.
    """

    def __init__(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, file: Path, first: int
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.file = file
        self.first = first
        self.scores: list[float] = []
        self.steps = 0
        self.used_seconds = 0.0
        self.step_seconds = 0.0
        self.score_seconds = 0.0
        self.best_weights: dict[str, torch.Tensor] = {}

    @property
    def best(self) -> int:
        # Before the first epoch that may be chosen, the latest epoch counts as the best.
        scores = self.scores[self.first :]
        return self.first + scores.index(max(scores)) if scores else len(self.scores) - 1

    def add_score(self, score: float) -> None:
        self.scores.append(score)
        weights = self.module.state_dict()
        # Copy them, because the next epoch changes the module's weights in place.
        if self.best == len(self.scores) - 1:
            self.best_weights = {key: tensor.clone() for key, tensor in weights.items()}
        moments = {
            f"moments.{number}.{name}": value
            for number, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        now = {f"now.{key}": tensor for key, tensor in weights.items()}
        best = {f"best.{key}": tensor for key, tensor in self.best_weights.items()}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.file) as file:
            tensors = {
                **now,
                **best,
                **moments,
                "scores": torch.tensor(self.scores, dtype=torch.float64),
            }
            used = [self.steps, self.used_seconds, self.step_seconds, self.score_seconds]
            tensors["used"] = torch.tensor(used, dtype=torch.float64)
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)

    def load(self) -> None:
        if not self.file.exists():
            return
        groups: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
        with safe_open(self.file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                group, _, name = key.partition(".")
                groups[group][name] = tensors.get_tensor(key)
        moments: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
        for name, tensor in groups["moments"].items():
            number, _, moment = name.partition(".")
            moments[int(number)][moment] = tensor
        self.scores = groups["scores"][""].tolist()
        self.best_weights = groups["best"]
        steps, self.used_seconds, self.step_seconds, self.score_seconds = groups["used"][
            ""
        ].tolist()
        self.steps = int(steps)
        self.module.load_state_dict(groups["now"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": dict(moments)})


class _BoxTimer:
    """The used seconds of a time box, over all attempts; scores count, too."""

    def __init__(self, box: TimeBox, state: _EncoderState) -> None:
        self.box = box
        self.state = state
        self.started = box.clock() - state.used_seconds

    @property
    def used(self) -> float:
        return self.box.clock() - self.started

    @property
    def used_share(self) -> float:
        # The learning rate of a step is always above 0.
        return min(0.99, self.used / max(self.box.seconds - self.state.score_seconds, 1e-9))

    @property
    def is_over(self) -> bool:
        """Whether there is no time for one more step and a score; one step is always made."""
        needed = self.state.step_seconds + self.state.score_seconds
        is_late = self.box.is_stopped() or self.used + needed > self.box.seconds
        return is_late and self.state.steps > 0

    def add_step(self, started: float) -> None:
        """Count a step that began when `started` seconds were used."""
        self.state.steps += 1
        self.state.step_seconds = self.used - started

    def add_score(self, score: Callable[[], float]) -> None:
        """Score the current weights, and save the state with the seconds used so far."""
        started = self.used
        value = score()
        self.state.score_seconds = self.used - started
        self.state.used_seconds = self.used
        self.state.add_score(value)
