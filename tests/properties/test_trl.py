"""Loss and gradients are those of TRL's SFTTrainer over PEFT, on the same rows and the same
adapter.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import SETTINGS, peft_model, shake_weights, tiny_model, token_rows

from etude.training.layers.lora import add_adapters, save_adapter
from etude.training.losses import Objective
from etude.training.step import accumulate_gradients
from tiny import build_tokenizer

pytestmark = [
    pytest.mark.skipif(
        find_spec("trl") is None, reason="no TRL, the oracle; to run: pip install trl"
    ),
    # Of TRL and its own dependencies, which we do not answer for.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]


def trainer_over(model: Any, rows: Any, folder: Path) -> Any:
    """TRL's trainer over rows of token ids, with all of them in one batch."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    columns = {
        "input_ids": [list(row.ids) for row in rows],
        "completion_mask": [[int(on) for on in row.trained] for row in rows],
    }
    settings = SFTConfig(
        output_dir=str(folder),
        report_to=[],
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=len(rows),
        gradient_checkpointing=False,
        completion_only_loss=True,
        disable_tqdm=True,
    )
    data = Dataset.from_dict(columns)
    return SFTTrainer(
        model=model, args=settings, train_dataset=data, processing_class=build_tokenizer()
    )


def test_loss_and_gradients_equal_those_of_trl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module = tiny_model()
    rows = token_rows(7)
    with add_adapters(module, SETTINGS) as adapters:
        shake_weights(adapters)
        save_adapter(adapters, tmp_path / "adapter")
        ours = accumulate_gradients(Objective(module), rows, 24)  # in several micro-batches
    trainer = trainer_over(peft_model(tmp_path / "adapter", trainable=True), rows, tmp_path / "out")
    (batch,) = trainer.get_train_dataloader()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(ours, rel=1e-5)
    parameters = dict(trainer.model.named_parameters())
    for adapter in adapters:
        for side, weight in (("A", adapter.a), ("B", adapter.b)):
            grad = parameters[f"base_model.model.{adapter.name}.lora_{side}.default.weight"].grad
            assert torch.linalg.vector_norm(weight.grad - grad) <= 1e-5 * torch.linalg.vector_norm(
                grad
            )
