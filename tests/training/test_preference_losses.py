"""DPO and KTO: losses and gradients are TRL's on the same rows, and the loop trains them."""

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import (
    CONFIG,
    SETTINGS,
    VOCABULARY,
    ignore,
    kill_at_step,
    peft_model,
    shake_weights,
    tiny_model,
)

from etude.training import Loss, Output, TokenRow, train
from etude.training.layers.forward import can_pack
from etude.training.layers.lora import add_adapters, save_adapter
from etude.training.losses import Objective, _TokenLosses, compute_cross_entropy
from etude.training.preference_losses import (
    accuracy,
    add_mismatched_rows,
    compute_log_probs,
    dpo,
    kto,
)
from etude.training.rows.batches import collate
from etude.training.step import accumulate_gradients
from tiny import build_tokenizer

Rows = list[TokenRow]
MICRO = 10_000
with_trl = pytest.mark.skipif(
    find_spec("trl") is None, reason="no TRL, the oracle; to run: pip install trl"
)
# Of TRL and its own dependencies, which we do not answer for.
quietly = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


def pair_rows(num: int, prompt: int = 0, answer: int = 0, seed: int = 0) -> Rows:
    """Pairs of rows with one question; lengths are drawn unless they are given."""
    draw = random.Random(seed)
    rows = []
    for number in range(num):
        question = [draw.randrange(3, VOCABULARY) for _ in range(prompt or draw.randrange(1, 7))]
        for side in ("better", "worse"):
            answer_ids = [
                draw.randrange(3, VOCABULARY) for _ in range(answer or draw.randrange(1, 7))
            ]
            marks = (False,) * len(question) + (True,) * len(answer_ids)
            rows.append(TokenRow(f"{seed}-{number}-{side}", (*question, *answer_ids), marks))
    return rows


def parts(row: TokenRow) -> tuple[list[int], list[int]]:
    start = row.trained.index(True)
    return list(row.ids[:start]), list(row.ids[start:])


def trl_arguments(folder: Path, num: int) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": num,
        "gradient_checkpointing": False,
        "beta": 0.3,
        "max_length": None,
        "disable_tqdm": True,
    }


def trl_pairs(
    model: Any, rows: Rows, reference: Mapping[str, float], folder: Path, loss: str
) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    prompts, chosen = zip(*map(parts, rows[0::2]), strict=True)
    rejected = [parts(row)[1] for row in rows[1::2]]
    columns = {"prompt": [*prompts], "chosen": [*chosen], "rejected": rejected}
    settings = DPOConfig(loss_type=[loss], **trl_arguments(folder, len(rows) // 2))
    words = Dataset.from_dict(
        {name: [" ".join(map(str, ids)) for ids in values] for name, values in columns.items()}
    )
    trainer = DPOTrainer(
        model=model, args=settings, train_dataset=words, processing_class=build_tokenizer()
    )
    trainer.precompute_ref_logps = True
    batch = pad_rows([*rows[0::2], *rows[1::2]])
    batch["ref_chosen_logps"] = torch.tensor([reference[row.id] for row in rows[0::2]])
    batch["ref_rejected_logps"] = torch.tensor([reference[row.id] for row in rows[1::2]])
    return trainer.compute_loss(trainer.model, batch), trainer.model


def trl_kto(
    model: Any, rows: Rows, reference: Mapping[str, float], good: Mapping[str, bool], folder: Path
) -> Any:
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    half = len(rows) // 2
    made_up = Dataset.from_dict(
        {"prompt": ["a"] * half, "completion": ["b"] * half, "label": [True, False] * (half // 2)}
    )
    settings = KTOConfig(**trl_arguments(folder, half))
    trainer = KTOTrainer(
        model=model, args=settings, train_dataset=made_up, processing_class=build_tokenizer()
    )
    trainer.precompute_ref_logps = True
    batch = pad_rows(rows[:half])
    batch |= {f"KL_{name}": value for name, value in pad_rows(rows[half:]).items()}
    batch["label"] = torch.tensor([good[row.id] for row in rows[:half]])
    batch["ref_logps"] = torch.tensor([reference[row.id] for row in rows[:half]])
    batch["ref_KL_logps"] = torch.tensor([reference[row.id] for row in rows[half:]])
    return trainer.compute_loss(trainer.model, batch), trainer.model


def pad_rows(rows: Sequence[TokenRow]) -> dict[str, torch.Tensor]:
    length = max(len(row.ids) for row in rows)
    filled = {
        "input_ids": [[*row.ids, *[0] * (length - len(row.ids))] for row in rows],
        "attention_mask": [[1] * len(row.ids) + [0] * (length - len(row.ids)) for row in rows],
        "completion_mask": [
            [*map(int, row.trained), *[0] * (length - len(row.ids))] for row in rows
        ],
    }
    return {name: torch.tensor(values) for name, values in filled.items()}


def compute_ours(
    loss_of: Callable[[dict[str, float]], Loss], rows: Rows, folder: Path
) -> tuple[float, Any, dict[str, float]]:
    """Our loss, the adapters with their gradients, and the reference; the adapters are written to
    `folder`.
    """
    module = tiny_model()
    reference = compute_log_probs(module, rows, MICRO)
    with add_adapters(module, SETTINGS) as adapters:
        shake_weights(adapters)
        save_adapter(adapters, folder / "adapter")
        objective = Objective(module, loss=loss_of(reference), is_packed=can_pack(module))
        return (
            accumulate_gradients(objective, rows, 24),
            adapters,
            reference,
        )  # in several micro-batches


def assert_same(found: tuple[float, Any], theirs: tuple[Any, Any]) -> None:
    loss, model = theirs
    loss.backward()
    assert loss.item() == pytest.approx(found[0], rel=1e-5)
    named = dict(model.named_parameters())
    for adapter in found[1]:
        for side, weight in (("A", adapter.a), ("B", adapter.b)):
            grad = named[f"base_model.model.{adapter.name}.lora_{side}.default.weight"].grad
            assert torch.linalg.vector_norm(weight.grad - grad) <= 1e-5 * torch.linalg.vector_norm(
                grad
            )


@quietly
@with_trl
def test_dpo_is_that_of_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = pair_rows(6)
    value, adapters, reference = compute_ours(lambda reference: dpo(reference, 0.3), rows, tmp_path)
    model = peft_model(tmp_path / "adapter", trainable=True)
    assert_same((value, adapters), trl_pairs(model, rows, reference, tmp_path / "out", "sigmoid"))


@quietly
@with_trl
def test_kto_is_that_of_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = add_mismatched_rows(pair_rows(2), group=4)
    good = {row.id: number % 2 == 0 for number, row in enumerate(rows[:4])}
    value, adapters, reference = compute_ours(
        lambda reference: kto(reference, good, 0.3), rows, tmp_path
    )
    model = peft_model(tmp_path / "adapter", trainable=True)
    assert_same((value, adapters), trl_kto(model, rows, reference, good, tmp_path / "out"))


def test_losses_of_tokens_have_the_gradients_of_their_sum() -> None:
    """Weighed alike, in 64 bits, also those of the head; chunk by chunk."""
    module = tiny_model(torch.float64)
    module.requires_grad_(True)
    batch = collate(pair_rows(5), module.device)
    results = []
    for weighed in (False, True):
        module.zero_grad()
        hidden = module.base_model(batch.ids).last_hidden_state
        head = module.get_output_embeddings()
        if weighed:
            flat = hidden.flatten(0, 1)[batch.positions]
            loss = (3 * _TokenLosses.apply(flat, head.weight, None, batch.targets)).sum()  # type: ignore[no-untyped-call]
        else:
            loss = 3 * compute_cross_entropy(module, batch, hidden)
        loss.backward()
        results.append(
            [loss.detach(), *(parameter.grad.clone() for parameter in module.parameters())]
        )
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_every_loss_is_learned_by_the_loop(name: str, tmp_path: Path) -> None:
    module = tiny_model()
    pairs = pair_rows(12)
    rows = add_mismatched_rows(pairs) if name == "kto" else pairs
    reference = compute_log_probs(module, rows, MICRO)
    good = {row.id: row.id.endswith("better") for row in pairs}
    loss = {"dpo": lambda: dpo(reference), "kto": lambda: kto(reference, good, beta=1.0)}[name]()
    shares: list[float] = []

    def measured() -> dict[str, float]:
        accuracies = accuracy(compute_log_probs(module, pairs, MICRO), log_probs_before, pairs)
        shares.append(sum(accuracies) / len(accuracies))
        return {"score": shares[-1]}

    log_probs_before = compute_log_probs(module, pairs, MICRO)
    output = Output(tmp_path / "c", tmp_path / "a", on_eval=measured)
    config = replace(CONFIG, epochs=4, rows_per_step=8, micro_tokens=400)
    result = train(module, rows, rows, config, output, loss=loss)
    assert shares[0] == 0.5
    assert max(shares) > 0.9
    assert min(result.dev_losses) < 0.9 * result.dev_losses[0]
    if name == "dpo":
        assert result.dev_losses[0] == pytest.approx(math.log(2), rel=1e-5)


def test_a_mismatched_row_has_the_question_of_one_and_the_answer_of_another() -> None:
    rows = pair_rows(2, prompt=2, answer=3)
    groups = add_mismatched_rows([*rows, rows[0]], group=2)
    assert len(groups) == 8
    for question_row, answer_row, new_row in ((0, 1, 2), (1, 0, 3)):
        assert groups[new_row].ids == (*rows[question_row].ids[:2], *rows[answer_row].ids[2:])


def train_pairs(folder: Path, log: Callable[[Mapping[str, Any]], None] = ignore) -> bytes:
    """DPO in `folder`, with a checkpoint after every step; the bytes of its adapter."""
    module = tiny_model()
    rows = pair_rows(12)
    config = replace(CONFIG, epochs=2, rows_per_step=8)
    output = Output(folder / "checkpoint", folder / "adapter", log, every_step=True)
    train(module, rows, rows[:4], config, output, loss=dpo(compute_log_probs(module, rows, MICRO)))
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.real
def test_dpo_that_is_killed_twice_ends_in_the_same_bytes(tmp_path: Path) -> None:
    call = "train_pairs(Path(sys.argv[2]), lambda news: time.sleep(0.1))"
    for steps in (2, 4):
        assert steps <= kill_at_step("test_preference_losses", call, tmp_path / "cut", steps) < 6
    cut, uninterrupted = (
        hashlib.sha256(train_pairs(tmp_path / name)).hexdigest() for name in ("cut", "whole")
    )
    assert cut == uninterrupted
