"""An encoder: texts to unit vectors, whose dot product measures how similar the meanings are.

A vector is the mean of the last hidden states over the text's tokens (Reimers and Gurevych 2019,
arXiv 1908.10084).
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from etude.errors import ModelError
from etude.models.local.loading import LOAD_ERRORS, choose_dtype, save_weights, silence_transformers
from etude.models.weights import find_weights

MAX_TEXT_TOKENS = 256  # A text is cut after this many tokens
BATCH_TOKENS = 16_384  # Tokens, including padding, that are embedded at once
LAYER_TEXTS = 64  # Short texts whose layers are computed at once
MIN_REMEMBERED = 500
MAX_LISTS = 4
"""A shared encoder remembers the vectors of the last lists with at least this many texts."""
Vectors = NDArray[np.float32]


class Encoder:
    """Weights and tokenizer of an encoder, in float32."""

    max_tokens = MAX_TEXT_TOKENS

    def __init__(self, name: str, module: Any, tokenizer: Any, is_tuned: bool = False) -> None:
        self.name = name
        self.module = module
        self.tokenizer = tokenizer
        self.is_tuned = is_tuned
        """Whether the weights differ from the published ones of `name`."""
        self.dtype = getattr(torch, choose_dtype(module.device.type))
        self.remembered: dict[tuple[str, ...], Vectors] | None = None
        """Lists of texts with their vectors, for an encoder whose weights never change; None for
        any other.
        """

    @property
    def dimensions(self) -> int:
        return int(self.module.config.hidden_size)

    def find_last_layers(self, num_layers: int) -> torch.nn.ModuleList:
        """Return the last layers of the encoder; all, if it has fewer."""
        layers = next(
            part for part in self.module.modules() if isinstance(part, torch.nn.ModuleList)
        )
        return layers[-num_layers:]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text; those beyond `max_tokens` are cut when it is embedded."""
        return list(map(len, self.tokenizer(list(texts), verbose=False)["input_ids"]))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Convert each text to token ids, cut at `MAX_TEXT_TOKENS`."""
        if not texts:
            return []
        return list(
            self.tokenizer(list(texts), truncation=True, max_length=MAX_TEXT_TOKENS)["input_ids"]
        )

    def embed(
        self, texts: Sequence[str], on_batch: Callable[[int, int], None] = lambda done, total: None
    ) -> Vectors:
        """Compute one float32 unit vector for each text. `on_batch` gets the number of finished
        texts and of all.
        """
        if self.remembered is None or len(texts) < MIN_REMEMBERED:
            return self._embed(texts, on_batch)
        # Only whole lists: in another batch, the rounding of a vector would differ.
        key = tuple(texts)
        vectors = self.remembered.pop(key, None)
        self.remembered[key] = self._embed(texts, on_batch) if vectors is None else vectors
        for oldest in list(self.remembered)[:-MAX_LISTS]:
            del self.remembered[oldest]
        return self.remembered[key].copy()

    def remember(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Remember the vectors of a list of texts that were computed in a longer one."""
        if self.remembered is not None and len(texts) >= MIN_REMEMBERED:
            self.remembered.setdefault(tuple(texts), vectors)

    def _embed(self, texts: Sequence[str], on_batch: Callable[[int, int], None]) -> Vectors:
        ids = self.encode(texts)
        vectors = np.zeros((len(ids), self.dimensions), dtype=np.float32)
        # batches of texts of similar length, with at most BATCH_TOKENS tokens
        batches: list[list[int]] = []
        for row in sorted(range(len(ids)), key=lambda row: len(ids[row])):
            if not batches or (len(batches[-1]) + 1) * len(ids[row]) > BATCH_TOKENS:
                batches.append([])
            batches[-1].append(row)
        self.module.eval()
        done = 0
        with torch.inference_mode():
            for rows in batches:
                vectors[rows] = self.forward([ids[row] for row in rows]).float().cpu().numpy()
                done += len(rows)
                on_batch(done, len(ids))
        return vectors

    def embed_layers(self, texts: Sequence[str], layers: Sequence[int]) -> Vectors:
        """Compute a vector for each text: the unit vectors of these layers' mean states, next to
        each other.
        """
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(texts), LAYER_TEXTS):
                ids = self.tokenizer(
                    list(texts[start : start + LAYER_TEXTS]),
                    **{
                        "truncation": True,
                        "max_length": MAX_TEXT_TOKENS,
                        "padding": True,
                        "return_tensors": "pt",
                    },
                ).to(self.module.device)
                states = self.module(**ids, output_hidden_states=True).hidden_states
                mask = ids["attention_mask"][..., None].float()
                means = [
                    (states[layer].float() * mask).sum(dim=1) / mask.sum(dim=1) for layer in layers
                ]
                vectors.append(
                    torch.cat([torch.nn.functional.normalize(mean, dim=1) for mean in means], dim=1)
                )
        return np.asarray(torch.cat(vectors).cpu().numpy(), dtype=np.float32)

    def forward(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Compute vectors of token ids, with gradients if the caller records them."""
        hidden = self.compute_hidden(ids)
        lengths = torch.tensor([len(row) for row in ids], device=hidden.device)
        mask = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        shares = mask / lengths[:, None]
        return torch.nn.functional.normalize((hidden.float() * shares[..., None]).sum(dim=1), dim=1)

    def compute_hidden(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Compute the last hidden states (rows, tokens of the longest row, hidden size); padding
        also has states.
        """
        device = self.module.device
        longest = max(map(len, ids))
        padding = self.tokenizer.pad_token_id or 0
        padded = torch.tensor(
            [[*row, *[padding] * (longest - len(row))] for row in ids], device=device
        )
        mask = torch.tensor(
            [[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=device
        )
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden: torch.Tensor = self.module(
                input_ids=padded, attention_mask=mask
            ).last_hidden_state
        return hidden

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for key, tensor in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer in the format of transformers."""
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.module, folder)
        self.tokenizer.save_pretrained(folder)


def load_encoder(name: str, tuned: Path | None = None, device: str | None = None) -> Encoder:
    """Load the encoder that `name` means (a packaged one, a folder or a hub id), or its `tuned`
    weights.

    Raises ModelError if it cannot be read.
    """
    folder = tuned or find_weights(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with silence_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            module = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                use_kernels=False,  # else transformers 5.25 fetches compiled layers for a GPU
            )
    except LOAD_ERRORS as error:
        raise ModelError(
            f"The encoder {name} in {folder} cannot be read ({error}). Get it again."
        ) from error
    # Copy the weights out of the mapped file. Products with mapped weights took 20 times as long:
    # 2.0 s for a training step of 8 sentences on one core, and 0.1 s with copies.
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    return Encoder(
        name, module.requires_grad_(False).eval().to(device), tokenizer, tuned is not None
    )
