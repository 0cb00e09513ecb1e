"""The encoder, and teaching it which passage answers which question, on a tiny BERT with random
weights.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from etude.errors import ModelError  # noqa: E402
from etude.index.build import embed_texts  # noqa: E402
from etude.models.local.encoder import MAX_LISTS, MIN_REMEMBERED, Encoder, load_encoder  # noqa: E402
from etude.models.registry import Models  # noqa: E402
from etude.training.contrastive import ContrastiveConfig, _build_loss, prepare_contrastive_training  # noqa: E402
from etude.training.encoder_loop import EncoderTraining, TunedEncoder  # noqa: E402
from etude.training.time_box import TimeBox  # noqa: E402
from far_workers import FarWorkers  # noqa: E402

ANIMALS = ("bear", "cat", "dog", "fox", "owl", "pig", "cow", "hen")
NOISES = ("growl", "meow", "bark", "yelp", "hoot", "oink", "moo", "cluck")
PASSAGES = [f"the {animal} is here" for animal in ANIMALS]
PAIRS = [
    (f"who says {noise} {when}", place)
    for place, noise in enumerate(NOISES)
    for when in ("now", "here")
]


def tiny_encoder() -> Encoder:
    torch.manual_seed(0)
    words = ["the", "is", "here", "who", "says", "now"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *ANIMALS, *NOISES, *words]
    core = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]"
    )
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=300,
    )
    return Encoder("tiny", transformers.BertModel(config).requires_grad_(False).eval(), tokenizer)


def measure_hits(encoder: Encoder) -> float:
    scores = encoder.embed([question for question, _ in PAIRS]) @ encoder.embed(PASSAGES).T
    return float(np.mean(scores.argmax(axis=1) == [place for _, place in PAIRS]))


def tune(
    encoder: Encoder, folder: Path, log: Any = lambda line: None, epochs: int = 8
) -> tuple[float, ...]:
    return prepare(encoder, epochs).train(folder, lambda: measure_hits(encoder), log).scores


def prepare(encoder: Encoder, epochs: int = 8) -> EncoderTraining:
    config = ContrastiveConfig(epochs, rows_per_step=4, num_negatives=2, learning_rate=1e-2)
    return prepare_contrastive_training(encoder, PAIRS, PASSAGES, config)


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 1), (7.0, 4), (20.0, 15), (90.0, 32)])
def test_a_time_box_ends_within_an_epoch_and_a_resumed_training_knows_its_time(
    seconds: float, steps: int, tmp_path: Path
) -> None:
    """A step takes a second of this clock, and so does a score."""
    now = [0.0]
    lines = list[Mapping[str, Any]]()

    def log(line: Mapping[str, Any]) -> None:
        now[0] += 1
        lines.append(line)

    def train() -> TunedEncoder:
        encoder = tiny_encoder()

        def score() -> float:
            now[0] += 1
            return measure_hits(encoder)

        return prepare(encoder).train(tmp_path, score, log, TimeBox(seconds, lambda: now[0]))

    result = train()
    assert (result.steps, result.planned_steps) == (steps, 32)
    assert result.trained_share == min(1.0, steps * 4 / len(PAIRS))
    assert now[0] <= max(seconds, 3), "one step and two scores are always made"
    now[0] += 1000  # the process was killed and started again
    again = train()
    assert (again.scores, again.steps) == (result.scores, steps)
    assert len(lines) == steps


def test_vectors_have_length_one_and_do_not_depend_on_the_batch() -> None:
    encoder = tiny_encoder()
    texts = [*PASSAGES, "bear", "the " * 200, ""]
    together = encoder.embed(texts)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, together, strict=True):
        assert np.allclose(
            encoder.embed([text])[0], vector, atol=2e-2 if encoder.dtype != torch.float32 else 1e-5
        )


def test_tuning_finds_passages_that_share_no_word_with_their_questions(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    scores = tune(encoder, tmp_path)
    assert scores[0] < 0.5
    assert max(scores) == measure_hits(encoder) >= 0.9, "the weights of the best epoch are kept"


def test_a_killed_tuning_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = tiny_encoder()
    cut = tiny_encoder()
    expected = tune(whole, tmp_path / "whole", epochs=4)

    def killed(line: Mapping[str, Any]) -> None:
        if line.get("step") == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(cut, tmp_path / "cut", killed, epochs=4)
    again = tiny_encoder()
    assert tune(again, tmp_path / "cut", epochs=4) == expected
    assert again.fingerprint == whole.fingerprint


def test_a_saved_encoder_gives_the_same_vectors(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    encoder.save(tmp_path)
    assert np.array_equal(load_encoder(str(tmp_path)).embed(PASSAGES), encoder.embed(PASSAGES))


def test_a_shared_encoder_computes_the_vectors_of_a_long_list_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_encoder().save(tmp_path / "encoder")
    registry = Models()
    shared = registry.load_shared_encoder(str(tmp_path / "encoder"))
    texts = [PASSAGES[number % len(PASSAGES)] for number in range(MIN_REMEMBERED)]
    expected = registry.load_encoder(str(tmp_path / "encoder")).embed(texts)
    computed: list[int] = []
    forward = shared.forward
    monkeypatch.setattr(shared, "forward", lambda ids: computed.append(len(ids)) or forward(ids))
    first = shared.embed(texts)
    first[:] = 0  # a caller may change what it got
    assert np.array_equal(shared.embed(texts), expected)
    assert sum(computed) == len(texts)
    for number in range(MAX_LISTS):
        shared.embed([*texts, *PASSAGES[: number + 1]])
    assert shared.remembered is not None
    assert tuple(texts) not in shared.remembered


def test_an_encoder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        load_encoder(str(tmp_path))


def test_only_changed_passages_are_embedded_again(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    file = tmp_path / "index" / "vectors.safetensors"
    first, num = embed_texts(PASSAGES, encoder, file, keep=True)
    assert num == len(PASSAGES)
    changed = [*PASSAGES[2:], "the bear says hoot", PASSAGES[2]]
    again, num = embed_texts(changed, encoder, file, keep=True)
    assert num == 1
    np.testing.assert_array_equal(again[:6], first[2:])
    np.testing.assert_array_equal(again[7], again[0])
    assert embed_texts(PASSAGES[:3], encoder, file)[1] == 2, "passages that are gone are forgotten"
    assert embed_texts(changed, encoder, file)[1] == 0, "without keep nothing is written"
    with torch.no_grad():
        next(encoder.module.parameters()).add_(1)
    assert embed_texts(changed, encoder, file)[1] == 7, "other weights have other vectors"


def test_workers_embed_the_chunks_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_encoder().save(tmp_path / "encoder")
    encoder = load_encoder(str(tmp_path / "encoder"))
    workers = FarWorkers()
    monkeypatch.setattr("etude.index.build.TEXTS_AT_ONCE", 3)
    counts: list[tuple[int, int]] = []
    here, _ = embed_texts(PASSAGES, encoder, tmp_path / "here", keep=True)
    there, num = embed_texts(
        PASSAGES, encoder, tmp_path / "there", True, lambda *pair: counts.append(pair), workers
    )
    np.testing.assert_array_equal(there, here)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    assert (num, counts) == (8, [(3, 8), (6, 8), (8, 8)])
    assert len(workers.sent) == 4, "one message with the encoder's name, and three chunks"
    assert len(workers.sent[0]) < 1_000, "weights are not sent"


def test_wrong_passages_are_the_nearest_of_those_that_some_pair_asks_for() -> None:
    encoder = tiny_encoder()
    pairs = [pair for pair in PAIRS if pair[1] < 5]
    vectors = encoder.embed(PASSAGES[:5])
    shown: list[int] = []
    texts: list[list[int]] = []

    def forward(ids: Any) -> Any:
        shown.append(len(ids))
        texts[:] = ids
        return real(ids)

    # type: ignore[method-assign]
    real = encoder.forward
    encoder.forward = forward
    loss = _build_loss(
        encoder, pairs, PASSAGES, ContrastiveConfig(num_negatives=2), torch.from_numpy(vectors)
    )
    value, _ = loss([0, 1], random.Random(0))
    assert shown == [2, 3], "the passage of both questions, and two others"
    assert value > 0
    assert texts[0] == encoder.encode([PASSAGES[pairs[0][1]]])[0], "first the right passage"
    assert len(set(map(tuple, texts))) == 3, "each passage once"
