"""Vectors of passages, kept by a hash of the text, so that only what has changed is embedded again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from etude.base.files import file_aside
from etude.errors import RunError

if TYPE_CHECKING:
    from etude.models.encoder import Encoder

Vectors = NDArray[np.float32]
AT_ONCE = 10_000
"""Texts after which the vectors are written: a kill loses no more than these."""
_DIGEST_BYTES = 16


def vectors_of(
    texts: Sequence[str],
    encoder: Encoder,
    file: Path,
    keep: bool = False,
    on_text: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Vectors, int]:
    """One row for each text, and how many texts were embedded; vectors that `file` holds are taken from it.

    With `keep` the file then holds exactly these texts. A file of other weights counts as empty. `on_text` gets how
    many of the texts to embed are done, of how many.
    """
    digests = list(map(_digest, texts))
    known = _read(file, encoder)
    held = len(known)
    missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
    for start in range(0, len(missing), AT_ONCE):
        some = dict(list(missing.items())[start : start + AT_ONCE])
        found = encoder.embed(list(some.values()), lambda done, _, at=start: on_text(at + done, len(missing)))  # type: ignore[misc]
        known |= dict(zip(some, found, strict=True))
        if keep and start + AT_ONCE < len(missing):
            _write(file, encoder, known)
    if keep and (missing or held > len(set(digests))):
        _write(file, encoder, {digest: known[digest] for digest in digests})
    return np.stack([known[digest] for digest in digests]), len(missing)


def num_missing(texts: Sequence[str], encoder: Encoder, file: Path) -> int:
    """How many different texts `file` holds no vector of."""
    return len({_digest(text) for text in texts} - _read(file, encoder).keys())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES]


def _key(encoder: Encoder) -> str:
    """What decides a vector beside the text."""
    return f"{encoder.fingerprint} {encoder.dtype}"


def _write(file: Path, encoder: Encoder, known: dict[bytes, Vectors]) -> None:
    from safetensors.numpy import save_file

    digests = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file_aside(file) as aside:
        save_file(
            {"digests": digests, "vectors": np.stack(list(known.values()))}, aside, {"encoder": _key(encoder)}
        )


def _read(file: Path, encoder: Encoder) -> dict[bytes, Vectors]:
    """Digest of a text -> its vector. Raises RunError when the file cannot be read."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return {}
    try:
        with safe_open(file, "np") as kept:
            if (kept.metadata() or {}).get("encoder") != _key(encoder):
                return {}
            digests, vectors = kept.get_tensor("digests"), kept.get_tensor("vectors")
    except (SafetensorError, OSError) as error:
        raise RunError(f"{file} cannot be read ({error}). Delete it and run etude index again.") from error
    return {bytes(digest): vector for digest, vector in zip(digests, vectors, strict=True)}
