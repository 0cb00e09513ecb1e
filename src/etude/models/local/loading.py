"""Load a transformers model and its tokenizer from a folder or a GGUF file."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.initialization import no_init_weights
from transformers.utils import logging

from etude.errors import ModelError
from etude.models.local.adapters import apply_adapter
from etude.models.local.model import LocalModel
from etude.models.local.quantized import quantize_layers
from etude.models.registry import Models
from etude.models.weights import find_weights, remove_cached, split_bits, unpack_gguf
from etude.types import ModelRef

WEIGHTS_FILE = "model.safetensors"
# The exceptions of transformers for damaged weights and for weights of an unknown kind.
LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def load(ref: ModelRef, models: Models) -> LocalModel:
    """Load the model that `ref` names, for the registry. A model with an adapter shares the weights
    of its base.
    """
    if ref.adapter is None:
        return load_local(ref.name, models.device, models.dtype, models.cache)
    base = models.get_trainable(ModelRef(ref.name))
    return LocalModel(ref.name, apply_adapter(base.module, ref.adapter), base.tokenizer)


def load_local(
    name: str, device: str | None = None, dtype: str | None = None, cache: Path | None = None
) -> LocalModel:
    """Load the model that `name` means (see find_weights).

    The default of `device` is CUDA if there is a GPU; that of `dtype` ("bfloat16" or "float32") is
    chosen by `choose_dtype`. `cache` replaces the cache folder. Raises ModelError if the weights
    cannot be found or read.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or choose_dtype(device)
    path = find_weights(name)
    if path.suffix != ".gguf":
        read_module = partial(
            AutoModelForCausalLM.from_pretrained,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            # Without this, transformers 5.25 fetches compiled layers for a GPU, and `train` puts
            # the original layers back in place of the fused ones.
            use_kernels=False,
        )
        return _build_model(name, path, device, read_module)
    unpack = partial(_unpack, dtype=dtype)
    folder = unpack_gguf(path, dtype, unpack, cache)
    try:
        return _build_model(name, folder, device, _read_cached_module)
    except ModelError:
        remove_cached(folder)
        return _build_model(
            name, unpack_gguf(path, dtype, unpack, cache), device, _read_cached_module
        )


def choose_dtype(device: str) -> str:
    """Choose bfloat16 if the processor has instructions for it, else float32."""
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # ATEN_CPU_CAPABILITY may limit it to AVX2.
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        return "float32"
    try:
        cpu_flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").lower().split())
    except OSError:
        cpu_flags = set()
    return "bfloat16" if {"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags else "float32"


def _build_model(
    name: str, folder: Path, device: str, read_module: Callable[[Path], Any]
) -> LocalModel:
    try:
        with silence_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            module = read_module(folder)
    except LOAD_ERRORS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"The weights of {name} in {folder} cannot be read ({reason}). Download them again."
        ) from error
    if bits := split_bits(name)[1]:
        quantize_layers(module, bits)
    return LocalModel(name, module.requires_grad_(False).to(device), tokenizer, folder.absolute())


def _read_cached_module(folder: Path) -> Any:
    # Read the tensors by the names in the file. This avoids the half second in which transformers
    # prepares its renaming rules.
    tensors = load_file(folder / WEIGHTS_FILE)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with no_init_weights():
        module = AutoModelForCausalLM.from_config(config, dtype=next(iter(tensors.values())).dtype)
    missing, unknown = module.load_state_dict(tensors, strict=False, assign=True)
    module.tie_weights()
    if unknown or set(missing) - set(module.all_tied_weights_keys):
        raise ValueError(f"missing or unknown tensors: {[*missing, *unknown][:3]}")
    return module.eval()


def load_tokenizer(gguf: Path) -> Any:
    """Load the tokenizer of a GGUF file from the cache folder. The first call writes it there."""
    try:
        folder = unpack_gguf(
            gguf, "tokenizer", lambda file, to: read_tokenizer(file).save_pretrained(to)
        )
        with silence_transformers():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (ModelError, *LOAD_ERRORS):  # the cache is damaged or cannot be written
        return read_tokenizer(gguf)


def read_tokenizer(gguf: Path) -> Any:
    """Read the tokenizer of a GGUF file, which takes seconds."""
    with silence_transformers():
        return AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True
        )


def _unpack(gguf: Path, folder: Path, dtype: str) -> None:
    try:
        with silence_transformers():
            tokenizer = read_tokenizer(gguf)
            module = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                # without this, the weights stay packed and are unpacked at every step
                quantization_config=GgufConfig(dequantize=True),
                dtype=getattr(torch, dtype),
                local_files_only=True,
            )
    except (*LOAD_ERRORS, ImportError, NotImplementedError) as error:
        raise ModelError(
            f"The GGUF file {gguf} cannot be unpacked ({error}). Download it again."
        ) from error
    tokenizer.save_pretrained(folder)
    save_weights(module, folder)


def save_weights(module: Any, folder: Path) -> None:
    """Write config.json and model.safetensors in the format of transformers. Raises OSError."""
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    module.config.save_pretrained(folder)
    tensors: dict[str, torch.Tensor] = {}
    saved_pointers: set[int] = set()
    for key, tensor in module.state_dict().items():
        # Tied weights are one tensor with two names. safetensors refuses that; loading ties them
        # again.
        if tensor.data_ptr() not in saved_pointers:
            saved_pointers.add(tensor.data_ptr())
            tensors[key] = tensor.contiguous()
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Hide progress bars, log lines and warnings of transformers while weights are read."""
    verbosity = logging.get_verbosity()
    has_bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # the progress bar of the GGUF reader cannot be switched off, so its stream is redirected
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
