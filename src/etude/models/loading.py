"""Weights into memory: a transformers model and its tokenizer from a folder or a GGUF file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.initialization import no_init_weights
from transformers.utils import logging

from etude.errors import ModelError
from etude.models.adapters import with_adapter
from etude.models.local import LocalModel
from etude.models.registry import Models
from etude.models.weights import find_weights, forget, unpacked
from etude.types import ModelRef

WEIGHTS_FILE = "model.safetensors"
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)
"""What transformers raises for weights that are damaged or of an unknown kind."""
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Settings of oneDNN and of torch's layer over it: how many kernels of matrix products are kept, which are made for
each shape. By default a thousand, of which those of every new number of tokens took 26 MB of SmolLM2-135M."""
KERNELS = "64"
"""More than one step uses."""


def load(ref: ModelRef, models: Models) -> LocalModel:
    """The model that `ref` names, for the registry; an adapted one shares its base's weights."""
    options = (models.device, models.dtype, models.cache)
    if ref.adapter is None:
        return load_local(ref.name, *options)
    if (ref.adapter / "config.json").exists():  # all weights were tuned, not adapters
        return load_local(str(ref.adapter), *options)
    base = models.trainable(ModelRef(ref.name))
    return LocalModel(ref.name, with_adapter(base.module, ref.adapter), base.tokenizer)


def load_local(
    name: str, device: str | None = None, dtype: str | None = None, cache: Path | None = None
) -> LocalModel:
    """The model `name` means (see find_weights) on `device` (default: CUDA where there is one) in `dtype`
    ("bfloat16" or "float32"; default: `native_dtype`). `cache` replaces the default cache folder.

    Raises ModelError when the weights cannot be found or read.
    """
    for setting in KERNEL_CACHES:
        os.environ.setdefault(setting, KERNELS)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or native_dtype(device)
    path = find_weights(name)
    if path.suffix != ".gguf":
        return _model(name, path, device, partial(_read_module, dtype=dtype))
    folder = unpacked(path, dtype, _unpacker(dtype), cache)
    try:
        return _model(name, folder, device, _read_cached_module)
    except ModelError:
        forget(folder)
        return _model(name, unpacked(path, dtype, _unpacker(dtype), cache), device, _read_cached_module)


def native_dtype(device: str) -> str:
    """bfloat16 where the processor multiplies it natively, else float32."""
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16", "bf16"} & _cpu_flags() else "float32"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}


def _model(name: str, folder: Path, device: str, read_module: Callable[[Path], Any]) -> LocalModel:
    try:
        with silence():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            module = read_module(folder)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"The weights of {name} in {folder} cannot be read ({reason}). Get them again."
        ) from error
    return LocalModel(name, module.requires_grad_(False).to(device), tokenizer, folder.absolute())


def _read_module(folder: Path, dtype: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    )


def _read_cached_module(folder: Path) -> Any:
    """Reads what `_save` wrote. Tensors go in under the names they were saved with, which spares the
    half second that transformers takes to prepare its renaming rules."""
    tensors = load_file(folder / WEIGHTS_FILE)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with no_init_weights():
        module = AutoModelForCausalLM.from_config(config, dtype=next(iter(tensors.values())).dtype)
    absent, unknown = module.load_state_dict(tensors, strict=False, assign=True)
    module.tie_weights()
    if unknown or set(absent) - set(module.all_tied_weights_keys):
        raise ValueError(f"its tensors do not fit: {[*absent, *unknown][:3]}")
    return module.eval()


def read_tokenizer(gguf: Path) -> Any:
    """The tokenizer of a GGUF file."""
    with silence():
        return AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)


def _unpacker(dtype: str) -> Callable[[Path, Path], None]:
    def unpack(gguf: Path, folder: Path) -> None:
        try:
            with silence():
                tokenizer = read_tokenizer(gguf)
                module = AutoModelForCausalLM.from_pretrained(
                    gguf.parent,
                    gguf_file=gguf.name,
                    # Without it the weights stay packed and are unpacked again at every step.
                    quantization_config=GgufConfig(dequantize=True),
                    dtype=getattr(torch, dtype),
                    local_files_only=True,
                )
        except (*UNREADABLE, ImportError, NotImplementedError) as error:
            raise ModelError(
                f"The GGUF file {gguf} cannot be unpacked ({error}). Download it again."
            ) from error
        _save(module, tokenizer, folder)

    return unpack


def _save(module: Any, tokenizer: Any, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    save_weights(module, folder)


def save_weights(module: Any, folder: Path) -> None:
    """Writes config.json and model.safetensors as transformers reads them. Raises OSError."""
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    module.config.save_pretrained(folder)
    tensors: dict[str, torch.Tensor] = {}
    written: set[int] = set()
    for key, tensor in module.state_dict().items():
        # Tied weights are one tensor under two names, which safetensors refuses; loading ties them again.
        if tensor.data_ptr() not in written:
            written.add(tensor.data_ptr())
            tensors[key] = tensor.contiguous()
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


@contextmanager
def silence() -> Iterator[None]:
    """No progress bars, log lines or warnings of transformers while weights are read."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # The bar of the GGUF reader knows no switch, so its stream is taken away.
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
