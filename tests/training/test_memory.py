"""What a training will take is foreseen: its memory against that of the run itself."""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_train import CONFIG, VOCABULARY, tiny_model, token_rows

from etude.errors import ModelError
from etude.training import Output, TokenRow, train
from etude.training.memory.measurement import measure_training_memory
from etude.training.memory.usage import memory_in_use, release_freed_memory
from etude.training.step import start_training

STATUS = Path("/proc/self/status")
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "max_position_embeddings": 256,
}


def long_rows(number: int, seed: int) -> list[TokenRow]:
    draw = random.Random(seed)
    rows = []
    for at in range(number):
        ids = draw.choices(range(3, VOCABULARY), k=draw.randrange(60, 200))
        rows.append(TokenRow(f"{seed}-{at}", tuple(ids), (False,) * 9 + (True,) * (len(ids) - 9)))
    return rows


NO_PEAK = pytest.mark.skipif(
    not STATUS.exists(), reason="this system reports no peak memory; to run: use Linux"
)


@NO_PEAK
@pytest.mark.real
def test_the_memory_of_a_run_is_estimated_within_a_tenth() -> None:
    """The median of three: one may be off by a quarter, as the allocator does not always decide
    alike.
    """
    found = [apart() for _ in range(3)]
    assert all(needed > 50e6 for _, needed in found), "enough to be seen"
    shares = [foreseen / needed for foreseen, needed in found]
    assert shares == pytest.approx([1] * 3, rel=0.25)
    assert statistics.median(shares) == pytest.approx(1, rel=0.1)


def test_nan_weights_are_reported_before_any_row(tmp_path: Path) -> None:
    module = tiny_model()
    module.model.layers[1].mlp.up_proj.weight.data[3, 5] = float("nan")
    module.model.norm.weight.data[0] = float("inf")
    with pytest.raises(
        ModelError,
        match=r"damaged.* in model\.layers\.1\.mlp\.up_proj\.weight, model\.norm\.weight\.",
    ):
        measure_training_memory(module, token_rows(8), token_rows(2), CONFIG)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), None],
    ids=["gpu", "python", "cpu"],
)
def test_running_out_of_memory_says_what_to_lower(error: Exception | None) -> None:
    module = tiny_model()
    parts = dict(module.named_modules())

    def fails() -> None:
        if error:
            raise error
        torch.empty(2**48)

    told = r"ran out.*\{micro_tokens: 20, rank: 2\}"
    with pytest.raises(ModelError, match=told), start_training(module, CONFIG, 8):
        fails()
    assert dict(module.named_modules()) == parts
    with pytest.raises(RuntimeError, match="shapes") as other, start_training(module, CONFIG, 8):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not isinstance(other.value, ModelError)


def apart() -> tuple[int, int]:
    """`measured` in a process of its own: what other tests have left to the allocator would be
    counted here.
    """
    done = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    foreseen, needed = json.loads(done.stdout)
    return foreseen, needed


def measured() -> tuple[int, int]:
    """Bytes that a run is said to take and takes, beyond those in use before it."""
    module = tiny_model(**SHAPE)
    rows = long_rows(40, 0)
    dev = long_rows(10, 1)
    config = replace(CONFIG, rows_per_step=8, micro_tokens=2048, epochs=1)
    release_freed_memory()
    before = memory_in_use(module.device)
    foreseen = measure_training_memory(module, rows, dev, config)
    with tempfile.TemporaryDirectory() as folder:
        output = Output(Path(folder) / "checkpoint", Path(folder) / "adapter", every_step=True)
        result = train(module, rows, dev, config, output)
    return foreseen - before, result.peak_memory - before


if __name__ == "__main__":
    print(json.dumps(measured()))
