"""Llama, Qwen 3, Gemma 3, Phi 4, OLMo 2 and Mistral, with random weights: trained, saved, loaded,
served, foreseen.
"""

from pathlib import Path

import httpx2
import pytest

from etude.base.files import read_lines
from etude.models.registry import Models
from etude.runs.recommended import load
from etude.tuning import train
from etude.types import ModelRef
from serving import serve_as, serving
from small_task import rows, write_task
from tiny import build_module, save_tiny_model

ARCHITECTURES = {
    "llama": "llama",
    "qwen 3": "qwen3",
    "gemma 3": "gemma3_text",
    "phi 4": "phi3",
    "olmo 2": "olmo2",
    "mistral": "mistral",
}
"""Name -> its kind of configuration in transformers."""


@pytest.mark.real
@pytest.mark.parametrize("bits", ["", "weights: 4bit\n"], ids=["16bit", "4bit"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_trained_saved_loaded_and_served(
    name: str, bits: str, tmp_path: Path
) -> None:
    model = save_tiny_model(
        tmp_path / "model", kind=ARCHITECTURES[name], max_position_embeddings=1024
    )
    settings = (
        "methods: [fine_tune]\n"
        "max_tokens: 6\n"
        "train: {max_rows: 64, epochs: 3, learning_rate: 0.01}\n"
    )
    run = train(write_task(tmp_path / "task", "classify", str(model), 150, settings + bits)).run
    lines = read_lines(run.method_folder("fine_tune") / "train.jsonl")
    losses = [line["dev_loss"] for line in lines if "dev_loss" in line]
    assert min(losses[1:]) < losses[0]
    assistant = load(run.folder)
    question = str(rows("classify", 1, seed=5)[0]["input"])
    text = assistant.answer(question).text
    with serving(serve_as("tuned", assistant)) as url:
        body = {"model": "tuned", "messages": [{"role": "user", "content": question}]}
        answer = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    assert answer["choices"][0]["message"]["content"] == text


@pytest.mark.real
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_read_as_it_was_saved(name: str, tmp_path: Path) -> None:
    import torch

    module = build_module(ARCHITECTURES[name])
    model = Models(dtype="float32").get_trainable(
        ModelRef(str(save_tiny_model(tmp_path, kind=ARCHITECTURES[name])))
    )
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model.module(ids).logits, module(ids).logits)
