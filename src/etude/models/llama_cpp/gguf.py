"""Tuned weights as GGUF files for llama.cpp: an adapter over an unchanged base, or base and adapter
as one file.

Everything but the tensors (the tokenizer, the chat template, the architecture) is copied from the
base's own GGUF file.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize, quantize

from etude.base.files import atomic_file
from etude.errors import ModelError
from etude.models.local.adapters import compute_scale, read_adapter_config, read_adapter_pairs
from etude.models.weights import find_weights

# Architectures for which answers of llama.cpp and transformers were compared.
VERIFIED_ARCHITECTURES = ("llama",)
# Name -> the types of matrices, embeddings and the file.
GGUF_TYPES = {
    "f16": (
        gguf.GGMLQuantizationType.F16,
        gguf.GGMLQuantizationType.F16,
        gguf.LlamaFileType.MOSTLY_F16,
    ),
    "q8_0": (
        gguf.GGMLQuantizationType.Q8_0,
        gguf.GGMLQuantizationType.Q8_0,
        gguf.LlamaFileType.MOSTLY_Q8_0,
    ),
    "q4_1": (
        gguf.GGMLQuantizationType.Q4_1,
        gguf.GGMLQuantizationType.Q8_0,
        gguf.LlamaFileType.MOSTLY_Q4_1,
    ),
}
Array = npt.NDArray[np.float32]


def find_base_file(name: str) -> Path:
    """Find the GGUF file of a base. Raises ModelError if it has none or its architecture is not
    verified.
    """
    file = find_weights(name)
    if file.suffix != ".gguf":
        raise ModelError(
            f"{name} is not a GGUF file. GGUF export works only if the base is a GGUF file: set "
            "model: to a .gguf file."
        )
    if (
        architecture := _read_first_key(file) or _read_architecture(_open(file))
    ) not in VERIFIED_ARCHITECTURES:
        verified = ", ".join(VERIFIED_ARCHITECTURES)
        raise ModelError(f"Export of {architecture} to GGUF is not verified; verified: {verified}.")
    return file


def write_adapter(base: Path, adapter: Path, target: Path) -> None:
    """Write a LoRA adapter in PEFT's format as a GGUF adapter over `base`, in 16 bits.

    Raises ModelError for another kind of adapter, OSError if the file cannot be written.
    """
    reader = _open(base)
    config = read_adapter_config(adapter)
    names = _map_names(reader)
    permute = _build_permutation(reader)
    pairs = {names[path]: pair for path, pair in read_adapter_pairs(adapter).items()}
    a, _ = next(iter(pairs.values()))
    with atomic_file(target) as temporary:
        writer = gguf.GGUFWriter(temporary, _read_architecture(reader))
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        # because llama.cpp divides by the rank
        writer.add_float32("adapter.lora.alpha", compute_scale(config, a) * a.shape[0])
        for name, (a, b) in pairs.items():
            writer.add_tensor(f"{name}.weight.lora_a", a.float().numpy().astype(np.float16))
            writer.add_tensor(
                f"{name}.weight.lora_b", permute(name, b.float().numpy()).astype(np.float16)
            )
        _write(writer)


def write_merged(base: Path, adapter: Path | None, target: Path, kind: str) -> None:
    """Write base and adapter (in PEFT's format) as one GGUF file.

    `kind` is a key of GGUF_TYPES; vectors stay in 32 bits. Raises ModelError and OSError as
    `write_adapter`.
    """
    reader = _open(base)
    tune = _build_change(reader, adapter) if adapter else lambda name, weights: weights
    matrix_type, embedding_type, file_type = GGUF_TYPES[kind]
    with atomic_file(target) as temporary:
        writer = gguf.GGUFWriter(temporary, _read_architecture(reader))
        for field in reader.fields.values():
            # the writer adds these keys itself
            if field.name in ("general.architecture", "general.file_type") or field.name.startswith(
                "GGUF."
            ):
                continue
            inner_type = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner_type)
        writer.add_uint32("general.file_type", int(file_type))
        for tensor in reader.tensors:
            weights = tune(
                tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            )
            is_embedding = tensor.name in ("token_embd.weight", "output.weight")
            tensor_type = embedding_type if is_embedding else matrix_type
            if weights.ndim < 2:
                writer.add_tensor(tensor.name, weights)
            else:
                writer.add_tensor(
                    tensor.name, quantize(weights, tensor_type), raw_dtype=tensor_type
                )
        _write(writer)


def _build_change(reader: gguf.GGUFReader, adapter: Path) -> Callable[[str, Array], Array]:
    """Return a function from a tensor's name and its weights in the base to the tuned weights."""
    names = _map_names(reader)
    permute = _build_permutation(reader)
    config = read_adapter_config(adapter)
    changes = {
        names[path]: (compute_scale(config, a) * (b.float() @ a.float())).numpy()
        for path, (a, b) in read_adapter_pairs(adapter).items()
    }
    return lambda name, weights: (
        weights + permute(stem, changes[stem])
        if (stem := name.removesuffix(".weight")) in changes
        else weights
    )


def _open(file: Path) -> gguf.GGUFReader:
    return _open_once(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _open_once(file: Path, changed: int) -> gguf.GGUFReader:
    # reading the vocabulary takes over a second, and many adapters may be written for one file
    return gguf.GGUFReader(file)


def _read_first_key(file: Path) -> str:
    """Read the architecture if it is the first key, as by convention, without the vocabulary; else
    return "".
    """
    with file.open("rb") as stream:
        stream.seek(24)  # magic, version, number of tensors and of keys

        def read_text() -> str:
            (length,) = struct.unpack("<Q", stream.read(8))
            return stream.read(min(length, 64)).decode(errors="replace")

        try:
            is_architecture = read_text() == "general.architecture"
            is_text = struct.unpack("<I", stream.read(4))[0] == gguf.GGUFValueType.STRING
            return read_text() if is_architecture and is_text else ""
        except struct.error:  # the file ends too early
            return ""


def _read_architecture(reader: gguf.GGUFReader) -> str:
    return str(_read_value(reader, "general.architecture"))


def _read_value(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _map_names(reader: gguf.GGUFReader) -> dict[str, str]:
    architecture = next(
        arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == _read_architecture(reader)
    )
    num_blocks = int(_read_value(reader, f"{_read_architecture(reader)}.block_count"))
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH(architecture), num_blocks).mapping
    return {path: name for path, (_, name) in table.items()}


def _build_permutation(reader: gguf.GGUFReader) -> Callable[[str, Array], Array]:
    """Return a function from a layer's name and weights to the weights with llama.cpp's order of
    rows.
    """
    architecture = _read_architecture(reader)
    heads, key_heads = (
        int(_read_value(reader, f"{architecture}.attention.head_count{suffix}"))
        for suffix in ("", "_kv")
    )

    def permute(name: str, weights: Array) -> Array:
        # llama.cpp rotates neighbouring rows, transformers rotates halves, so rows of queries and
        # keys must be paired
        num_heads = {"attn_q": heads, "attn_k": key_heads}.get(name.rpartition(".")[2])
        if num_heads is None:
            return weights
        rows = weights.reshape(num_heads, 2, weights.shape[0] // num_heads // 2, *weights.shape[1:])
        return rows.swapaxes(1, 2).reshape(weights.shape)

    return permute


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
