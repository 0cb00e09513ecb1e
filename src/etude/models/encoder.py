"""An encoder: texts to vectors of length one, whose dot product says how near their meanings are.

Mean of the last hidden states over the text's tokens (Reimers and Gurevych 2019, arXiv 1908.10084).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from etude.errors import ModelError
from etude.models.loading import UNREADABLE, native_dtype, save_weights, silence
from etude.models.weights import find_weights

TOKENS = 256
"""A text is read up to so many tokens."""
BATCH_TOKENS = 16_384
"""Tokens, padding included, that are embedded together."""
Vectors = NDArray[np.float32]


class Encoder:
    """Weights and tokenizer of an encoder, in float32."""

    def __init__(self, name: str, module: Any, tokenizer: Any) -> None:
        self.name, self.module, self.tokenizer = name, module, tokenizer
        self.tuned = False
        """Whether the weights are other than those that `name` means."""
        self.dtype = getattr(torch, native_dtype(module.device.type))

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut at `TOKENS`."""
        if not texts:
            return []
        return list(self.tokenizer(list(texts), truncation=True, max_length=TOKENS)["input_ids"])

    def embed(
        self, texts: Sequence[str], on_batch: Callable[[int, int], None] = lambda done, of: None
    ) -> Vectors:
        """One row for each text, in order: float32, of length one. `on_batch` gets how many are done, of how many."""
        ids = self.tokens(texts)
        found = np.zeros((len(ids), self.module.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        self.module.eval()
        done = 0
        with torch.inference_mode():
            for rows in _batches(order, [len(row) for row in ids]):
                found[rows] = self.forward([ids[row] for row in rows]).float().cpu().numpy()
                done += len(rows)
                on_batch(done, len(ids))
        return found

    def forward(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Vectors of token ids, with gradients where the caller records them."""
        device = self.module.device
        longest = max(map(len, ids))
        padding = self.tokenizer.pad_token_id or 0
        padded = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in ids], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=device)
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden = self.module(input_ids=padded, attention_mask=mask).last_hidden_state
        shares = mask / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize((hidden.float() * shares[..., None]).sum(dim=1), dim=1)

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes weights and tokenizer as transformers reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.module, folder)
        self.tokenizer.save_pretrained(folder)


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Rows in order of length, as many together as `BATCH_TOKENS` hold."""
    batches: list[list[int]] = []
    for row in order:
        if not batches or (len(batches[-1]) + 1) * lengths[row] > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


def load_encoder(name: str, tuned: Path | None = None, device: str | None = None) -> Encoder:
    """The encoder that `name` means (a packaged one, a folder or a hub id), or what was `tuned` of it.

    Raises ModelError when it cannot be read.
    """
    folder = tuned or find_weights(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with silence():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            module = AutoModel.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
            )
    except UNREADABLE as error:
        raise ModelError(f"The encoder {name} in {folder} cannot be read ({error}). Get it again.") from error
    encoder = Encoder(name, module.requires_grad_(False).eval().to(device), tokenizer)
    encoder.tuned = tuned is not None
    return encoder
