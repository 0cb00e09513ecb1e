"""A tagger: an encoder and a linear layer that predict for each word of a text the field of the
answer it belongs to.

The tags are O, B-FIELD (a value begins) and I-FIELD (the value continues), as in Ramshaw and Marcus
1995. Texts longer than the encoder's context are read in windows that overlap by half.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from etude.base.typed_json import from_json, to_json
from etude.models.local.encoder import Encoder
from etude.models.registry import Models
from etude.text.answer_spans import WORD, AnswerShape, Field, Values

WINDOW = 256
"""Tokens of a window, including special tokens."""
ROWS_PER_BATCH = 32
MIN_LOGPROB = -20.0
"""Lower limit of a tag's log-probability."""
HEAD_SCALE = 10.0
"""The factor of the head's logits. It makes the head's learning rate higher than the encoder's."""


@dataclass(frozen=True)
class Window:
    """The token ids of one part of a text, and the positions of its words."""

    ids: list[int]
    pieces: list[int]
    """The position in `ids` of the token in which each word begins."""
    words: list[int]
    """The number of each of these words in the text."""


@dataclass
class Tagger:
    """The encoder, its head and the shape of the answers."""

    encoder: Encoder
    shape: AnswerShape
    fields: tuple[Field, ...]
    """Fields whose values are tagged. Tag 0 is O; 1 + 2i begins a value of field i, and 2 + 2i
    continues it.
    """
    weight: torch.Tensor
    """(tags, hidden size)"""
    bias: torch.Tensor
    classified: Mapping[Field, Any]
    """Fields whose values are not in the text -> a linear classifier over the text."""

    def split_windows(self, text: str) -> tuple[list[tuple[int, int]], list[Window]]:
        """Return the words of a text as (begin, end), and its windows. Each word with a token is in
        a window.
        """
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
        starts = [begin for begin, _ in words]
        windows = []
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            pairs = [
                (
                    piece,
                    word,
                )  # a token of some tokenizers begins with the white space before a word
                for piece, (begin, end) in enumerate(offsets)
                for word in range(bisect_left(starts, begin), bisect_left(starts, end))
            ]
            if pairs:
                windows.append(Window(list(ids), *map(list, zip(*pairs, strict=True))))
        return words, windows

    def compute_logits(self, windows: Sequence[Window]) -> list[torch.Tensor]:
        """Compute the logits (words, tags) of each window, with gradients if the caller records
        them.
        """
        hidden = self.encoder.compute_hidden([window.ids for window in windows]).float()
        return [
            HEAD_SCALE * (hidden[row, window.pieces] @ self.weight.T + self.bias)
            for row, window in enumerate(windows)
        ]

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the JSON answer for each text, and the log-probability of its tags."""
        readings = self.extract(texts)
        for path, classifier in self.classified.items():
            predictions = classifier.predict(texts)
            readings = [
                (values | {path: json.loads(label)} if label else values, logprob + label_logprob)
                for (values, logprob), (label, label_logprob) in zip(
                    readings, predictions, strict=True
                )
            ]
        return [
            (json.dumps(self.shape.build(values), ensure_ascii=False), logprob)
            for values, logprob in readings
        ]

    def extract(self, texts: Sequence[str]) -> list[tuple[Values, float]]:
        """Return for each text the values of the tagged fields, in the order of the text, and the
        sum of the log-probabilities of the tags.
        """
        self.encoder.module.eval()
        parts = [self.split_windows(text) for text in texts]
        logs = [torch.full((len(words), len(self.bias)), -torch.inf) for words, _ in parts]
        windows = [(row, window) for row, (_, own) in enumerate(parts) for window in own]
        windows.sort(key=lambda pair: len(pair[1].ids))  # rows of the same length need no padding
        with torch.inference_mode():
            for start in range(0, len(windows), ROWS_PER_BATCH):
                batch = windows[start : start + ROWS_PER_BATCH]
                logits = self.compute_logits([window for _, window in batch])
                for (row, window), tag_logits in zip(batch, logits, strict=True):
                    scores = torch.log_softmax(tag_logits, dim=1).cpu()
                    words = torch.tensor(window.words)
                    # A word that was also in an earlier window keeps the more confident scores.
                    is_surer = scores.amax(dim=1) > logs[row][words].amax(dim=1)
                    logs[row][words[is_surer]] = scores[is_surer]
        readings: list[tuple[Values, float]] = []
        for text, (spans, _), rows in zip(texts, parts, logs, strict=True):
            rows[rows.isinf().all(dim=1), 0] = (
                0.0  # a word for which the tokenizer returns no token is O
            )
            tags = _decode(rows.numpy()) if spans else []
            logprob = sum(max(float(rows[word, tag]), MIN_LOGPROB) for word, tag in enumerate(tags))
            readings.append((self._collect(text, spans, tags), logprob))
        return readings

    def _collect(self, text: str, words: Sequence[tuple[int, int]], tags: Sequence[int]) -> Values:
        spans: list[tuple[int, int, int]] = []  # number of the field, begin, end
        for (begin, end), tag in zip(words, tags, strict=True):
            if tag % 2:  # B-FIELD
                spans.append((tag // 2, begin, end))
            elif tag:  # I-FIELD, which follows another word of its value
                spans[-1] = (*spans[-1][:2], end)
        values: Values = {}
        for number, begin, end in spans:
            values.setdefault(self.fields[number], []).append(text[begin:end])
        return values

    def save(self, folder: Path) -> None:
        """Writes the encoder, the head and the shape."""
        from etude.models.classical import save_classical, write_header

        self.encoder.save(folder / "encoder")
        tensors = {"weight": self.weight.detach().cpu(), "bias": self.bias.detach().cpu()}
        save_file(tensors, folder / "head.safetensors")
        for number, model in enumerate(self.classified.values()):
            save_classical(model, folder / f"classifier-{number}")
        header = {
            "encoder": self.encoder.name,
            "fields": self.fields,
            "classified": [*self.classified],
        }
        write_header(folder, "tagger", shape=to_json(self.shape), **header)

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
        shape = from_json(AnswerShape, header["shape"])
        return cls(encoder, shape, fields, tensors["weight"], tensors["bias"], classified)


def _decode(logs: np.ndarray) -> list[int]:
    """Find the likeliest tags in which I-FIELD follows B-FIELD or I-FIELD of the same field
    (Viterbi).
    """
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
