"""A tagger: an encoder and a linear layer that predict for each word of a text the field of the answer it belongs to.

The tags are O, B-FIELD (a value begins) and I-FIELD (the value continues), as in Ramshaw and Marcus 1995. Texts longer
than the encoder's context are read in windows that overlap by half.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from etude.models.local.encoder import Encoder
from etude.models.registry import Models
from etude.text.answer_spans import WORD, AnswerShape, Field, Values

WINDOW = 256
"""Tokens of a window, including special tokens."""
ROWS_PER_BATCH = 32
MIN_LOGPROB = -20.0
"""Lower limit of a tag's log-probability."""


@dataclass(frozen=True)
class Window:
    """The token ids of one part of a text, and the positions of its words."""

    ids: list[int]
    pieces: list[int]
    """The position in `ids` of each word's first token."""
    words: list[int]
    """The number of each of these words in the text."""


@dataclass
class Tagger:
    """The encoder, its head and the shape of the answers."""

    encoder: Encoder
    shape: AnswerShape
    fields: tuple[Field, ...]
    """Fields whose values are tagged. Tag 0 is O; 1 + 2i begins a value of field i, and 2 + 2i continues it."""
    weight: torch.Tensor
    """(tags, hidden size)"""
    bias: torch.Tensor
    classified: Mapping[Field, Any]
    """Fields whose values are not in the text -> a linear classifier over the text."""

    @property
    def num_tags(self) -> int:
        """The number of tags: O and two for each field."""
        return 1 + 2 * len(self.fields)

    def split_windows(self, text: str) -> tuple[list[tuple[int, int]], list[Window]]:
        """Return the words of a text as (begin, end), and its windows. Each word is in at least one window."""
        words = [match.span() for match in WORD.finditer(text)]
        if not words:
            return [], []
        tokenizer = self.encoder.tokenizer
        encoded = tokenizer(
            text,
            truncation=True,
            max_length=WINDOW,
            stride=WINDOW // 2,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        starts = {begin: number for number, (begin, _) in enumerate(words)}
        windows = []
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            pieces = [index for index, (begin, end) in enumerate(offsets) if end > begin and begin in starts]
            windows.append(Window(list(ids), pieces, [starts[offsets[index][0]] for index in pieces]))
        return words, windows

    def compute_logits(self, windows: Sequence[Window]) -> list[torch.Tensor]:
        """Compute the logits (words, tags) of each window, with gradients if the caller records them."""
        hidden = self.encoder.compute_hidden([window.ids for window in windows])
        return [hidden[row, window.pieces] @ self.weight.T + self.bias for row, window in enumerate(windows)]

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the JSON answer for each text, and the log-probability of its tags."""
        readings = self.extract(texts)
        for path, classifier in self.classified.items():
            predictions = classifier.predict(texts)
            readings = [
                (values | {path: json.loads(label)} if label else values, logprob + label_logprob)
                for (values, logprob), (label, label_logprob) in zip(readings, predictions, strict=True)
            ]
        return [
            (json.dumps(self.shape.build(values), ensure_ascii=False), logprob)
            for values, logprob in readings
        ]

    def extract(self, texts: Sequence[str]) -> list[tuple[Values, float]]:
        """Return for each text the values of the tagged fields, in the order of the text, and the sum of the
        log-probabilities of the tags."""
        self.encoder.module.eval()
        parts = [self.split_windows(text) for text in texts]
        logs = [torch.full((len(words), self.num_tags), -torch.inf) for words, _ in parts]
        windows = [(row, window) for row, (_, found) in enumerate(parts) for window in found]
        windows.sort(key=lambda pair: len(pair[1].ids))  # rows of the same length need no padding
        with torch.inference_mode():
            for start in range(0, len(windows), ROWS_PER_BATCH):
                batch = windows[start : start + ROWS_PER_BATCH]
                logits = self.compute_logits([window for _, window in batch])
                for (row, window), scores in zip(batch, logits, strict=True):
                    _take_surer(logs[row], window.words, torch.log_softmax(scores.float(), dim=1).cpu())
        readings: list[tuple[Values, float]] = []
        for text, (words, _), rows in zip(texts, parts, logs, strict=True):
            rows[torch.isinf(rows).all(dim=1), 0] = (
                0.0  # a word for which the tokenizer returns no token is O
            )
            tags = _decode(rows.numpy()) if words else []
            logprob = float(rows[range(len(tags)), tags].clamp(min=MIN_LOGPROB).sum()) if tags else 0.0
            readings.append((self._collect(text, words, tags), logprob))
        return readings

    def _collect(self, text: str, words: Sequence[tuple[int, int]], tags: Sequence[int]) -> Values:
        values: Values = {}
        open_field, begin, end = -1, 0, 0
        for (word_begin, word_end), tag in [*zip(words, tags, strict=True), ((0, 0), 0)]:
            number = (tag - 1) // 2 if tag else -1
            goes_on = tag > 0 and tag % 2 == 0 and number == open_field
            if open_field >= 0 and not goes_on:
                values.setdefault(self.fields[open_field], []).append(text[begin:end])
            if tag and not goes_on:
                begin = word_begin
            open_field, end = number, word_end
        return values

    def save(self, folder: Path) -> None:
        """Writes the encoder, the head and the shape."""
        from etude.models.classical import save_classical, write_header

        self.encoder.save(folder / "encoder")
        save_file(
            {"weight": self.weight.detach().cpu(), "bias": self.bias.detach().cpu()},
            folder / "head.safetensors",
        )
        classified = []
        for number, (path, model) in enumerate(self.classified.items()):
            save_classical(model, folder / f"classifier-{number}")
            classified.append(list(path))
        fields = [list(path) for path in self.fields]
        header = {"encoder": self.encoder.name, "fields": fields, "classified": classified}
        write_header(folder, "tagger", shape=self.shape.to_json(), **header)

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any], models: Models) -> "Tagger":
        """Reads what `save` wrote."""
        from etude.models.classical import load_predictor

        encoder = models.load_encoder(header["encoder"], folder / "encoder")
        tensors = load_file(folder / "head.safetensors", device=str(encoder.module.device))
        classified = {
            tuple(path): load_predictor(folder / f"classifier-{number}", models)
            for number, path in enumerate(header["classified"])
        }
        fields = tuple(map(tuple, header["fields"]))
        shape = AnswerShape.from_json(header["shape"])
        return cls(encoder, shape, fields, tensors["weight"], tensors["bias"], classified)


def _take_surer(logs: torch.Tensor, words: Sequence[int], scores: torch.Tensor) -> None:
    """Writes the scores of a window's words. A word that was also in an earlier window keeps the more confident
    scores."""
    for word, row in zip(words, scores, strict=True):
        if row.max() > logs[word].max():
            logs[word] = row


def _decode(logs: np.ndarray) -> list[int]:
    """Find the likeliest tags in which I-FIELD follows B-FIELD or I-FIELD of the same field (Viterbi)."""
    num_words, num_tags = logs.shape
    allowed = np.ones((num_tags, num_tags), dtype=bool)
    for tag in range(2, num_tags, 2):  # I-FIELD
        allowed[:, tag] = False
        allowed[[tag - 1, tag], tag] = True
    penalty = np.where(allowed, 0.0, -np.inf)
    best = logs[0] + penalty[0]  # before the first word the tag counts as O
    back = np.zeros((num_words, num_tags), dtype=int)
    for word in range(1, num_words):
        scores = best[:, None] + penalty
        back[word] = scores.argmax(axis=0)
        best = scores.max(axis=0) + logs[word]
    tags = [int(best.argmax())]
    for word in range(num_words - 1, 0, -1):
        tags.append(int(back[word, tags[-1]]))
    return tags[::-1]


load_tagger = Tagger.load
