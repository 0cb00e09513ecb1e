"""Weights that are taken away say the same as those that were measured."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")

import gguf
import torch
from safetensors.torch import save_file

from etude.assistant import Assistant
from etude.base.files import read_json
from etude.errors import ModelError
from etude.export import describe_losses, export_weights
from etude.export.targets import build_modelfile
from etude.models.registry import Models
from etude.types import (
    Completion,
    Example,
    Grammar,
    Message,
    ModelRef,
    Request,
    Sampling,
    SearchRef,
    TokenScore,
)
from tiny import CHATML, build_module, build_tokenizer, save_tiny_model

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
ASKED = [
    Request((Message("user", text),), 6)
    for text in ("my card", "please cancel the transfer", "where is it")
]


def tiny_gguf(file: Path) -> Path:
    """A tiny Llama as a GGUF file, written without the code under test."""
    module = build_module(**SHAPE)
    tokenizer = build_tokenizer()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(3)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(module.config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(400)
    _add_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
    for key, tensor in module.state_dict().items():
        if key == "lm_head.weight":
            continue
        weights = tensor.numpy()
        for part, heads in (("q_proj", 4), ("k_proj", 2)):
            if part in key:
                weights = weights.reshape(heads, 2, 8, 64).swapaxes(1, 2).reshape(weights.shape)
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight",)), weights.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: Any, tokenizer: Any) -> None:
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    texts = [text for text, _ in tokens] + [
        f"<unused{number}>" for number in range(400 - len(tokens))
    ]
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(texts)
    writer.add_token_types([3 if text in special else 1 for text in texts])
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in core["model"]["merges"]]
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def adapter(folder: Path, seed: int = 5) -> Path:
    """A LoRA adapter in PEFT's format that changes every answer."""
    folder.mkdir()
    torch.manual_seed(seed)
    layers = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "mlp.down_proj": (64, 96)}
    tensors = {}
    for name, (rows, columns) in layers.items():
        for block in range(3):
            path = f"base_model.model.model.layers.{block}.{name}"
            tensors[f"{path}.lora_A.weight"] = torch.randn(4, columns) / 8
            tensors[f"{path}.lora_B.weight"] = torch.randn(rows, 4) / 8
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "use_rslora": True, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Assistant:
    folder = tmp_path_factory.mktemp("tuned")
    ref = ModelRef(str(tiny_gguf(folder / "base.gguf")), adapter(folder / "adapter"))
    return Assistant("fine_tune", "answer", ref, instructions="answer with one word", max_tokens=12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(dtype="float32", cache=tmp_path_factory.mktemp("cache"))


def logits(models: Models, ref: ModelRef) -> Any:
    model = models.get_trainable(ref)
    ids = torch.tensor([model.tokenizer("my card has not arrived").input_ids])
    with torch.no_grad():
        return model.module(input_ids=ids).logits


@pytest.mark.parametrize(
    ("target", "name", "within"), [("gguf", "m.gguf", 0.02), ("merged", "m", 1e-4)]
)
def test_merged_weights_give_the_same_logits(
    target: str,
    name: str,
    within: float,
    tuned: Assistant,
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("etude.export.targets.Models", lambda: models)
    export_weights(tuned, target, tmp_path / name, "f16")
    own = logits(models, tuned.model)
    other = logits(models, ModelRef(str(tmp_path / name)))
    assert (own - logits(models, ModelRef(tuned.model.name))).abs().max() > 0.5
    assert (own - other).abs().max() < within


@pytest.mark.parametrize("target", ["lora", "gguf"])
def test_llama_cpp_answers_the_same(
    target: str, tuned: Assistant, models: Models, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    written = export_weights(tuned, target, tmp_path / f"{target}.gguf", "f16")
    assert written.model
    own, other, plain = (
        models.get(ref) for ref in (tuned.model, written.model, ModelRef(tuned.model.name))
    )
    for request in ASKED:
        (done, scores), (expected, wanted), (_, untuned) = (
            first(model, request) for model in (other, own, plain)
        )
        # a random model's likeliest tokens are nearly equal, so their probabilities are compared
        assert (
            abs(scores[0].logprob - wanted[0].logprob)
            < 0.03
            < abs(untuned[0].logprob - wanted[0].logprob)
        )
        assert done.prompt_tokens == expected.prompt_tokens
        assert (done.answer_tokens, done.finish) == (6, "length")


def test_adapters_over_one_base_share_it_and_switch_with_each_request(
    tuned: Assistant, models: Models, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    name = f"llama_cpp:{tuned.model.name}"
    adapters = (tuned.model.adapter, adapter(tmp_path / "other", seed=6), None)
    refs = [ModelRef(name, each) for each in adapters]
    together = Models(dtype="float32")
    together.expected = refs
    alone = [first(models.get(ref), ASKED[0])[1][0] for ref in refs]
    for at in (0, 1, 2, 1, 0, 2, 2, 0):
        (score, *_) = first(together.get(refs[at]), ASKED[0])[1]
        assert score.text == alone[at].text
        assert score.logprob == pytest.approx(alone[at].logprob, abs=1e-3)
    assert len({together.get(ref)._base for ref in refs}) == 1  # type: ignore[attr-defined]
    assert len({score.text for score in alone}) == 3


@pytest.mark.parametrize(
    "form",
    [
        Grammar("regex", "Title: (my|your) card/s\\nAges: [0-9]"),
        Grammar(
            "json_schema",
            '{"type": "object", "properties": {"age": {"enum": [7]}}, "required": ["age"]}',
        ),
    ],
)
def test_llama_cpp_keeps_an_answer_to_its_form(
    form: Grammar, tuned: Assistant, models: Models
) -> None:
    pytest.importorskip("xllamacpp")
    model = models.get(ModelRef(f"llama_cpp:{tuned.model.name}"), "grammar")
    (done,) = model.generate([Request(ASKED[0].messages, 60, grammar=form)])
    if form.kind == "regex":
        assert re.fullmatch(form.text, done.text)
    else:
        assert json.loads(done.text)["age"] == 7
    assert done.finish == "stop"


def first(model: Any, request: Request) -> tuple[Completion, Sequence[TokenScore]]:
    sampling = Sampling(top_logprobs=2)
    if hasattr(model, "write"):
        found: tuple[Completion, Sequence[TokenScore]] = model.write(
            request, sampling, lambda piece: False
        )
        return found
    batch = model.create_batch()
    answer = model.create_generation(request, sampling)
    batch.join([answer])
    while batch.generations:
        batch.step()
    return answer.to_completion(0, 0.0), answer.scores


def test_a_modelfile_has_the_prompt_word_for_word(
    tuned: Assistant, models: Models, tmp_path: Path
) -> None:
    shots = (Example("1", (Message("user", "a {{ brace"),), 'three """ quotes'),)
    assistant = Assistant(
        "few_shot", "answer", ModelRef(tuned.model.name), "be brief", shots=shots, max_tokens=9
    )
    text = build_modelfile(assistant, models)
    begin = text.index('TEMPLATE """') + 12
    end = text.index('"""\nPARAMETER')
    read = text[begin:end].replace('{{ "{{" }}', "\0").replace('{{ "\\"\\"\\"" }}', '"""')
    prompt = (
        read.replace("{{ .Prompt }}", "where is it")
        .replace("{{ .Response }}", "")
        .replace("\0", "{{")
    )
    wanted = models.get(assistant.model).render_text(
        assistant.build_messages((Message("user", "where is it"),))
    )
    assert prompt == wanted
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert "PARAMETER num_predict 9" in text


@pytest.mark.parametrize("target", ["adapter", "vllm"])
def test_the_base_that_is_named_is_the_one_that_was_trained_on(
    target: str, tuned: Assistant, tmp_path: Path
) -> None:
    """The weights in the folder that is named are those of the GGUF file. A hub id is named as it
    is.
    """
    written = export_weights(tuned, target, tmp_path / target)
    base = read_json(written.path / "adapter_config.json")["base_model_name_or_path"]
    assert base in written.instructions
    named, trained = (Models().get_trainable(ModelRef(name)) for name in (base, tuned.model.name))
    expected = trained.module.state_dict()
    for key, tensor in named.module.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    weights = written.path / "adapter_model.safetensors"
    assert weights.stat().st_mode == (written.path / "prompt.json").stat().st_mode
    hub = export_weights(
        replace(tuned, model=replace(tuned.model, name="a/b")), target, tmp_path / "hub"
    )
    assert read_json(hub.path / "adapter_config.json")["base_model_name_or_path"] == "a/b"
    assert "a/b" in hub.instructions


def test_an_export_says_what_the_weights_lack_and_how_the_prompt_is_made(
    tuned: Assistant, tmp_path: Path
) -> None:
    search = SearchRef(tmp_path, "1")
    found = replace(tuned, search=search, num_passages=2)
    assert "search for passages, instructions" in describe_losses(found)
    assert "--engine URL#MODEL" in describe_losses(found)
    assert (
        describe_losses(replace(tuned, instructions=""))
        == "The weights contain the whole assistant."
    )
    export_weights(found, "adapter", tmp_path / "a")
    messages = json.loads((tmp_path / "a" / "prompt.json").read_text())["messages"]
    assert messages == [
        {"role": "system", "content": "answer with one word"},
        {"role": "user", "content": "THE-QUESTION\n\nPASSAGE-1\n\nPASSAGE-2"},
    ]


def test_what_cannot_be_exported_is_refused(tuned: Assistant, tmp_path: Path) -> None:
    untuned = Assistant("prompt", "answer", ModelRef(tuned.model.name))
    with pytest.raises(ModelError, match="no adapter"):
        export_weights(untuned, "adapter", tmp_path / "a")
    near = replace(untuned, similar=SearchRef(tmp_path, "1"), num_similar=2)
    for assistant, what in (
        (near, "retrieves examples"),
        (replace(untuned, enforced=True), "its contract"),
    ):
        with pytest.raises(ModelError, match=what):
            export_weights(assistant, "ollama", tmp_path / "o")
    folder = Assistant("prompt", "answer", ModelRef(str(save_tiny_model(tmp_path / "m"))))
    with pytest.raises(ModelError, match="is not a GGUF file"):
        export_weights(folder, "gguf", tmp_path / "b.gguf")
    assert not (tmp_path / "b.gguf").exists()
