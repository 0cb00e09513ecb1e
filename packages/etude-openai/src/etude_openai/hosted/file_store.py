"""Files that clients upload: content and description on disk, found by id alone.

FILES/
  file-5f0c.../
    file.json     the API's description of the file
    content       the bytes; the client's file name is never used as a path
"""

import json
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from etude.base.files import Json, atomic_folder, parse_storable_json, read_json, write_json
from etude.errors import RunError
from etude.web.api_errors import ApiError

FILE_ID = re.compile(r"file-[0-9a-f]{24}")
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""The purposes for which a client may upload a file."""
MAX_FILE = 512 * 2**20
"""Limit of the bytes of one file, the same as OpenAI's."""
MAX_NAME = 255
"""Only the last characters of a longer file name are stored."""
CHUNK = 2**20


@dataclass(frozen=True)
class FileStore:
    """The files of one server. `quota`: bytes of all files together."""

    folder: Path
    quota: int
    lock: Lock = field(default_factory=Lock, repr=False)
    """Held while a file is stored, so that files sent at the same moment do not exceed the
    quota.
    """

    def add(
        self, content: BinaryIO, filename: str, purpose: str, expires_after: int | None = None
    ) -> Json:
        """Stores a whole file, or nothing if there is an error. Returns its description.

        Raises ApiError for an unknown purpose, a name that does not fit it, a file that is too
        large for the quota, and a file for fine-tuning whose lines are not JSON objects.
        """
        if purpose not in PURPOSES:
            message = f"'{purpose}' is not one of {list(PURPOSES)}"
            raise ApiError(400, message, "purpose", "invalid_value")
        if purpose == "fine-tune" and not filename.endswith(".jsonl"):
            message = "Invalid file format for Fine-Tuning API. Must be .jsonl"
            raise ApiError(400, message, "file", "invalid_file_format")
        return self.store(content, filename, purpose, expires_after)

    def store(
        self,
        content: BinaryIO,
        filename: str,
        purpose: str,
        expires_after: int | None = None,
        file_id: str | None = None,
    ) -> Json:
        """Like `add`, for results of the server, which need no check. Without `file_id`, the file
        gets a new id.
        """
        file_id = file_id or f"file-{secrets.token_hex(12)}"
        created = int(time.time())
        with self.lock, atomic_folder(self.folder / file_id) as folder:
            size = copy_within(content, folder / "content", min(MAX_FILE, self.count_room()))
            if purpose in (
                "fine-tune",
                "batch",
            ):  # a batch reports the errors of its other lines itself
                _check_lines(folder / "content", 1 if purpose == "batch" else None)
            description = {
                "id": file_id,
                "object": "file",
                "bytes": size,
                "created_at": created,
                "expires_at": None if expires_after is None else created + expires_after,
                "filename": filename[-MAX_NAME:],
                "purpose": purpose,
                "status": "processed",
                "status_details": None,
            }
            write_json(folder / "file.json", description)
        return description

    def get(self, file_id: str) -> Json:
        """The description of a file. Raises ApiError if there is none with this id, or it has
        expired.
        """
        description = self._read(file_id)
        if description is None:
            raise ApiError(404, f"No such File object: {file_id}", "id")
        return description

    def find(self, file_id: str) -> Path | None:
        """The content of a file; None if there is none with this id."""
        return None if self._read(file_id) is None else self.folder / file_id / "content"

    def read_path(self, file_id: str) -> Path:
        """The content of a file. Raises ApiError if there is none with this id."""
        self.get(file_id)
        return self.folder / file_id / "content"

    def list(self) -> list[Json]:
        """All files, the newest first."""
        folders = self.folder.glob("file-*") if self.folder.exists() else iter(())
        descriptions = [self._read(folder.name) for folder in folders]
        found = [description for description in descriptions if description is not None]
        return sorted(
            found,
            key=lambda description: (description["created_at"], description["id"]),
            reverse=True,
        )

    def delete(self, file_id: str) -> None:
        """Removes a file. Raises ApiError if there is none with this id."""
        self.get(file_id)
        shutil.rmtree(self.folder / file_id)

    def count_room(self) -> int:
        """Bytes of the quota that no file uses; negative after the quota was lowered."""
        num_bytes: int = sum(description["bytes"] for description in self.list())
        return self.quota - num_bytes

    def _read(self, file_id: str) -> Json | None:
        file = self.folder / file_id / "file.json"
        if not FILE_ID.fullmatch(file_id) or not file.exists():
            return None
        description = read_json(file)
        if description["expires_at"] is not None and description["expires_at"] <= time.time():
            shutil.rmtree(self.folder / file_id, ignore_errors=True)
            return None
        return description


def copy_within(content: BinaryIO, target: Path, room: int) -> int:
    """Copies in chunks; returns the number of bytes. Raises ApiError if there are more than
    `room`.
    """
    size = 0
    with target.open("wb") as out:
        while chunk := content.read(CHUNK):
            size += len(chunk)
            if size > room:
                message = (
                    f"The file is larger than the {max(0, room):,} bytes that this server can "
                    "still store."
                )
                raise ApiError(
                    413,
                    f"{message} Delete files, or start the server with a larger --quota.",
                    "file",
                )
            out.write(chunk)
    return size


def _check_lines(file: Path, max_lines: int | None) -> None:
    """Raises ApiError for a file without lines, and if one of the first `max_lines` is not a JSON
    object.
    """
    is_empty = True
    with file.open("rb") as stream:
        lines = ((number, line) for number, line in enumerate(stream, start=1) if line.strip())
        for number, line in islice(lines, max_lines):
            is_empty = False
            reason = ""
            try:
                if isinstance(parse_storable_json(line.decode("utf-8-sig")), dict):
                    continue
            except ValueError as error:
                reason = f": {error}"
            message = (
                "Invalid file format. Expected a JSONL file, where every line is a valid JSON "
                "dictionary."
            )
            preview = json.dumps(line[:80].decode(errors="replace").strip())
            message = (
                f"{message} Line {number} is not a dictionary{reason} (starts with: {preview})."
            )
            raise ApiError(400, message, "file", "invalid_jsonl")
    if is_empty:
        message = "Invalid file format. Expected a JSONL file; this file is empty."
        raise ApiError(400, message, "file", "empty_file")


def paginate(objects: list[Json], after: str | None, limit: int) -> Json:
    """Returns one page in the API's format: the objects after the id `after`. Raises ApiError if it
    is unknown.
    """
    start = 0
    if after is not None:
        ids = [item["id"] for item in objects]
        if after not in ids:
            # Returning page 1 again would send a client into an endless loop.
            raise ApiError(
                400, f"There is no object {after!r} in this list.", "after", "invalid_value"
            )
        start = ids.index(after) + 1
    page = objects[start : start + limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    has_more = start + limit < len(objects)
    return {
        "object": "list",
        "data": page,
        "first_id": first,
        "last_id": last,
        "has_more": has_more,
    }


def read_object(value: Any) -> Json:
    """Return a value of a client if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def iter_json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line that is not blank; the error of a line that
    cannot be read.
    """
    with file.open(encoding="utf-8-sig", errors="replace", newline="\n") as stream:
        for number, text in enumerate(stream, start=1):
            try:
                if text.strip():
                    yield number, parse_storable_json(text)
            except ValueError as error:
                yield number, error


def skip_unreadable(objects: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches or runs whose files can be read, so that a damaged one does not hide the
    others.
    """
    for item in objects:
        with suppress(RunError):
            _ = item.request, item.state
            yield item


def iter_chunks(file: Path) -> Iterator[bytes]:
    """The bytes of a file, a megabyte at a time."""
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
