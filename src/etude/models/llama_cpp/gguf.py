"""Tuned weights as GGUF files for llama.cpp: an adapter over an unchanged base, or base and adapter as one file.

All but the tensors (the tokenizer, the chat template, the architecture) is that of the base's own GGUF file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import (
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFReader,
    GGUFWriter,
    LlamaFileType,
    get_tensor_name_map,
)
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file

from etude.base.files import file_aside
from etude.errors import ModelError
from etude.models.adapters import read_config, read_pairs, scale_of
from etude.models.weights import find_weights

VERIFIED = ("llama",)
"""Architectures whose answers through llama.cpp were compared with those of transformers."""
KINDS = {
    "f16": (GGMLQuantizationType.F16, GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_1": (GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q4_1),
}
"""Name -> the type of matrices, of embeddings, and of the file."""
Array = npt.NDArray[np.float32]


def base_file(name: str) -> Path:
    """The GGUF file of a base. Raises ModelError for a base without one, or of an architecture that is not verified."""
    found = find_weights(name)
    if found.suffix != ".gguf":
        raise ModelError(
            f"{name} is no GGUF file. Export to GGUF takes a base that is one: set model: to a .gguf file."
        )
    if (architecture := _architecture(_read(found))) not in VERIFIED:
        raise ModelError(
            f"Export of {architecture} to GGUF is not verified; verified: {', '.join(VERIFIED)}."
        )
    return found


def write_adapter(base: Path, adapter: Path, target: Path) -> None:
    """Writes a LoRA adapter in PEFT's format as a GGUF adapter over `base`, in 16 bits.

    Raises ModelError for an adapter of another kind, OSError where the file cannot be written.
    """
    reader, config = _read(base), read_config(adapter)
    names, turned = _names(reader), _turned(reader)
    pairs = {names[path]: pair for path, pair in read_pairs(adapter).items()}
    a, _ = next(iter(pairs.values()))
    with file_aside(target) as aside:
        writer = GGUFWriter(aside, _architecture(reader))
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        # llama.cpp divides by the rank
        writer.add_float32("adapter.lora.alpha", scale_of(config, a) * a.shape[0])
        for name, (down, up) in pairs.items():
            writer.add_tensor(f"{name}.weight.lora_a", down.float().numpy().astype(np.float16))
            writer.add_tensor(f"{name}.weight.lora_b", turned(name, up.float().numpy()).astype(np.float16))
        _write(writer)


def write_merged(base: Path, tuned: Path | None, target: Path, kind: str) -> None:
    """Writes base and tuned weights (an adapter in PEFT's format, or all weights) as one GGUF file.

    `kind` is a name of KINDS; vectors stay in 32 bits. Raises ModelError and OSError as `write_adapter`.
    """
    reader = _read(base)
    changed = _changed(reader, tuned) if tuned else lambda name, own: own
    matrix, embedding, file_type = KINDS[kind]
    with file_aside(target) as aside:
        writer = GGUFWriter(aside, _architecture(reader))
        for key, value, kinds in _fields(reader):
            writer.add_key_value(key, value, kinds[0], sub_type=kinds[-1] if len(kinds) > 1 else None)
        writer.add_uint32("general.file_type", int(file_type))
        for tensor in reader.tensors:
            weights = changed(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
            wanted = embedding if tensor.name in ("token_embd.weight", "output.weight") else matrix
            if weights.ndim < 2:
                writer.add_tensor(tensor.name, weights)
            else:
                writer.add_tensor(tensor.name, quantize(weights, wanted), raw_dtype=wanted)
        _write(writer)


def _changed(reader: GGUFReader, tuned: Path) -> Callable[[str, Array], Array]:
    """Name and weights of the base -> the tuned weights."""
    names, turned = _names(reader), _turned(reader)
    if (tuned / "config.json").exists():
        whole = {
            names.get(key.removesuffix(".weight"), key): each for key, each in _all_weights(tuned).items()
        }
        return lambda name, own: (
            turned(stem, whole[stem].float().numpy()) if (stem := _stem(name)) in whole else own
        )
    scale = read_config(tuned)
    added = {
        names[path]: (scale_of(scale, a) * (b.float() @ a.float())).numpy()
        for path, (a, b) in read_pairs(tuned).items()
    }
    return lambda name, own: own + turned(stem, added[stem]) if (stem := _stem(name)) in added else own


def _all_weights(folder: Path) -> dict[str, Any]:
    return {
        key: each for file in sorted(folder.glob("*.safetensors")) for key, each in load_file(file).items()
    }


def _read(file: Path) -> GGUFReader:
    return _read_once(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read_once(file: Path, changed: int) -> GGUFReader:
    """Its vocabulary takes over a second to read, and many adapters may be written over one file."""
    return GGUFReader(file)


def _stem(name: str) -> str:
    return name.removesuffix(".weight")


def _architecture(reader: GGUFReader) -> str:
    return str(_value(reader, "general.architecture"))


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _fields(reader: GGUFReader) -> Iterator[tuple[str, Any, Any]]:
    """Key, value and types of what the base's file says, but for what a writer says itself."""
    own = ("general.architecture", "general.file_type")
    for field in reader.fields.values():
        if field.name not in own and not field.name.startswith("GGUF."):
            yield field.name, field.contents(), field.types


def _names(reader: GGUFReader) -> dict[str, str]:
    """Path of a layer in transformers -> its name in the file."""
    architecture = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == _architecture(reader))
    blocks = int(_value(reader, f"{_architecture(reader)}.block_count"))
    table = get_tensor_name_map(MODEL_ARCH(architecture), blocks).mapping
    return {path: name for path, (_, name) in table.items()}


def _turned(reader: GGUFReader) -> Callable[[str, Array], Array]:
    """Name and weights of a layer -> the weights with their rows as llama.cpp has them. It rotates neighbours where
    transformers rotates halves, so those of queries and keys stand in pairs."""
    architecture = _architecture(reader)
    heads, key_heads = (
        int(_value(reader, f"{architecture}.attention.head_count{end}")) for end in ("", "_kv")
    )

    def turned(name: str, weights: Array) -> Array:
        number = {"attn_q": heads, "attn_k": key_heads}.get(name.rpartition(".")[2])
        if number is None:
            return weights
        rows = weights.reshape(number, 2, weights.shape[0] // number // 2, *weights.shape[1:])
        return rows.swapaxes(1, 2).reshape(weights.shape)

    return turned


def _write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
