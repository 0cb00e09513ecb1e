"""What a training will take is foreseen: its memory against that of the run itself."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from etude.train import Output, TokenRow, train
from etude.train.memory import give_back_freed_memory, memory_in_use, peak_memory
from etude.train.needs import foresee
from test_train import CONFIG, VOCABULARY, tiny_model

SHAPE = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 6, "max_position_embeddings": 256}


def long_rows(number: int, seed: int) -> list[TokenRow]:
    draw = random.Random(seed)
    rows = []
    for at in range(number):
        ids = draw.choices(range(3, VOCABULARY), k=draw.randrange(60, 200))
        rows.append(TokenRow(f"{seed}-{at}", tuple(ids), (False,) * 9 + (True,) * (len(ids) - 9)))
    return rows


def test_the_memory_of_a_run_is_foreseen_within_a_tenth(tmp_path: Path) -> None:
    module, rows, dev = tiny_model(**SHAPE), long_rows(40, 0), long_rows(10, 1)
    config = replace(CONFIG, rows_per_step=8, micro_tokens=2048, epochs=1)
    if not peak_memory(module.device):
        pytest.skip("the system does not tell the highest memory; to run: use Linux")
    give_back_freed_memory()
    before = memory_in_use(module.device)
    found = foresee(module, rows, dev, config)
    result = train(
        module,
        rows,
        dev,
        config,
        Output(tmp_path / "checkpoint", tmp_path / "adapter", checkpoint_seconds=0.0),
    )
    needed = result.peak_memory - before
    assert needed > 50e6, "enough to be seen"
    assert found.memory - before == pytest.approx(needed, rel=0.1)
