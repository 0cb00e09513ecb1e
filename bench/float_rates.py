"""Tokens per second of training, encoding and answering, as shares of the rate of this machine's matrix products alone.

    python bench/float_rates.py
    ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 python bench/float_rates.py

The rows are those of examples/luma. A product of the shapes of the model's layers is timed for the rate. A token costs
two operations per weight of the layers in a forward pass, and as many again in the backward pass through frozen
weights; operations of attention, norms and sampling are not counted, so a share of 100% cannot be reached. Each of the
three is measured five times in turn with the product, and the median share counts.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from train_speed import LUMA, read_rows

from etude.models.registry import Models
from etude.training import Output, TrainConfig, train
from etude.types import Message, ModelRef, Request

MODEL, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"
NUM_ROWS, NUM_REPEATS = 48, 5
PRODUCT_ROWS = 2_048  # rows of the timed product: the tokens of a batch


def main() -> None:
    """Prints the table."""
    models = Models()
    language, encoder = models.get_trainable(ModelRef(MODEL)), models.load_shared_encoder(ENCODER)
    texts = [json.loads(line)["input"] for line in LUMA.read_text(encoding="utf-8").splitlines()]
    rows = read_rows(LUMA, language.tokenizer, NUM_ROWS)
    requests = [Request((Message("user", text),), max_tokens=64) for text in texts[:NUM_ROWS]]

    def train_epoch() -> tuple[float, float]:
        steps: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            output = Output(
                Path(folder) / "checkpoint",
                Path(folder) / "adapter",
                log=lambda line: steps.append(dict(line)) if "step" in line else None,
            )
            train(language.module, rows, rows[:1], TrainConfig(rank=16, rows_per_step=8, epochs=1), output)
        return sum(step["tokens"] for step in steps), sum(step["seconds"] for step in steps)

    def encode_texts() -> tuple[float, float]:
        started = time.perf_counter()
        encoder._embed(texts, lambda done, total: None)
        return sum(map(len, encoder.encode(texts))), time.perf_counter() - started

    def answer_requests() -> tuple[float, float]:
        started = time.perf_counter()
        answers = language.generate(requests)
        tokens = sum(answer.prompt_tokens + answer.answer_tokens for answer in answers)
        return tokens, time.perf_counter() - started

    print(f"{torch.get_num_threads()} threads; {language.module.dtype}, encoder {encoder.dtype}\n")
    print("| | tokens/s | GFLOP/s | of the products' rate |\n| --- | --- | --- | --- |")
    works: list[tuple[str, Callable[[], tuple[float, float]], Any, int]] = [
        ("training", train_epoch, language.module, 4),
        ("encoding", encode_texts, encoder.module, 2),
        ("answering", answer_requests, language.module, 2),
    ]
    for name, run, module, operations in works:
        weights = count_layer_weights(module)
        dtype = module.dtype if module is language.module else encoder.dtype
        run()  # the first call is slower
        speeds, shares = [], []
        for _ in range(NUM_REPEATS):
            rate = measure_rate(module.config.hidden_size, module.config.intermediate_size, dtype)
            tokens, seconds = run()
            speeds.append(tokens / seconds)
            shares.append(operations * weights * speeds[-1] / rate)
        speed = statistics.median(speeds)
        print(
            f"| {name} | {speed:,.0f} | {operations * weights * speed / 1e9:.0f} | {statistics.median(shares):.0%} |"
        )


def count_layer_weights(module: Any) -> int:
    """Count the weights of the layers' matrices, without embeddings and the output layer."""
    return sum(
        parameter.numel()
        for name, parameter in module.named_parameters()
        if parameter.ndim == 2 and "layer" in name
    )


def measure_rate(hidden: int, inner: int, dtype: torch.dtype) -> float:
    """Measure the operations per second of a product of a layer's shapes: the fastest of ten."""
    left = torch.randn(PRODUCT_ROWS, hidden).to(dtype)
    right = torch.randn(hidden, inner).to(dtype)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * PRODUCT_ROWS * hidden * inner / min(seconds)


if __name__ == "__main__":
    main()
