"""Rows in a dataset on the Hugging Face Hub: `hf://datasets/OWNER/NAME@REVISION/PATH` in a task file.

`etude index` downloads the file once, into hub/ beside the task file, and writes its commit to hub.lock.json. All other
commands read this copy. So they need no network, and every run reads the same rows.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile

from etude.base.files import atomic_file, parse_json, write_json
from etude.errors import InputError, MissingExtraError

HUB = "hf://"
SYNTAX = "hf://datasets/OWNER/NAME@REVISION/PATH"
FOLDER, LOCK = "hub", "hub.lock.json"
URL = re.compile(
    r"hf://datasets/(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>refs/(?:convert|pr)/\w+|[\w.-]+))?/"
    r"(?P<path>\w[^/?#\\]*(?:/\w[^/?#\\]*)*)"
)
"""As `SYNTAX`; without a revision it is the branch main. refs/convert/parquet is the Hub's own copy as Parquet."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


def read_lock(folder: Path) -> dict[str, str]:
    """Read the commit of each URL that task files in a folder have downloaded. Raises InputError."""
    file = folder / LOCK
    try:
        lock = parse_json(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError:
        lock = None
    if isinstance(lock, dict) and all(_COMMIT.fullmatch(str(commit)) for commit in lock.values()):
        return lock
    raise InputError.of(str(file), "cannot be read", "", "delete it, and run etude index again")


def find_hub_file(folder: Path, url: str) -> Path | None:
    """Return the copy of a file on the Hub; None if it was not downloaded. Raises InputError."""
    commit = read_lock(folder).get(url, "")
    file = _build_path(folder, url, commit)
    return file if commit and file.is_file() else None


def download_hub_file(folder: Path, url: str) -> Path:
    """Download a file: at its commit in the lock, else at the newest commit of the revision, which is then in the lock.

    Without a network, the file is copied from the hub's cache. Raises MissingExtraError; OSError or ValueError if the
    Hub cannot be reached or has no such file.
    """
    if not find_spec("huggingface_hub"):
        raise MissingExtraError("Downloading rows", "train")
    from huggingface_hub import hf_hub_download

    lock, (repo, revision, path) = read_lock(folder), URL.fullmatch(url).groups()  # type: ignore[union-attr]
    cached = Path(hf_hub_download(repo, path, repo_type="dataset", revision=lock.get(url) or revision))
    commit = cached.parts[-2 - path.count("/")]  # .../snapshots/COMMIT/PATH
    file = _build_path(folder, url, commit)
    with atomic_file(file) as temporary:
        copyfile(cached, temporary)
    write_json(folder / LOCK, lock | {url: commit})
    return file


def _build_path(folder: Path, url: str, commit: str) -> Path:
    repo, _, path = URL.fullmatch(url).groups()  # type: ignore[union-attr]
    return folder / FOLDER / repo / commit / path
