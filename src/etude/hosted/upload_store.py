"""Files that clients upload in parts: UPLOADS/upload_1c9e.../ with upload.json and the parts until it is completed."""

import hashlib
import re
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from etude.base.files import Json, read_json, write_json
from etude.hosted.file_store import MAX_FILE, FileStore, copy_within, count_part_bytes, iter_chunks
from etude.web.api_errors import ApiError

UPLOAD_ID, PART_ID = re.compile(r"upload_[0-9a-f]{24}"), re.compile(r"part_[0-9a-f]{24}")
MAX_PART = 64 * 2**20  # bytes, the same as OpenAI's
LIFETIME = 3600  # seconds after which an upload that was not completed is deleted


@dataclass(frozen=True)
class UploadStore:
    """The uploads of one server. Their parts count towards the quota of the files."""

    folder: Path
    files: FileStore
    lock: Lock = field(default_factory=Lock, repr=False)
    """Held while parts are stored, joined or deleted, so that parts sent at the same moment do not exceed a limit."""

    def create(self, filename: str, purpose: str, num_bytes: int, expires_after: int | None) -> Json:
        """Begins an upload. Raises ApiError if the file store would refuse the file."""
        self.files.check(filename, purpose)
        self._prune()
        if num_bytes > (room := min(MAX_FILE, self.files.count_room())):
            message = (
                f"The file has {num_bytes:,} bytes. This server can store {max(0, room):,} bytes in one file."
            )
            remedy = "Send a smaller file." if room == MAX_FILE else "Delete files first."
            raise ApiError(413, f"{message} {remedy}", "bytes", "file_too_large")
        created = int(time.time())
        upload: Json = {
            "id": f"upload_{secrets.token_hex(12)}",
            "object": "upload",
            "bytes": num_bytes,
            "created_at": created,
            "expires_at": created + LIFETIME,
            "filename": filename,
            "purpose": purpose,
            "status": "pending",
            "file": None,
        }
        write_json(self.folder / upload["id"] / "upload.json", {**upload, "expires_after": expires_after})
        return upload

    def add_part(self, upload_id: str, content: BinaryIO) -> Json:
        """Stores a part. Raises ApiError if it is too large, or the upload is not pending."""
        folder, part_id = self.folder / upload_id, f"part_{secrets.token_hex(12)}"
        unfinished = folder / f"new_{part_id}"
        with self.lock, self.files.lock:
            upload = self._get_pending(upload_id)
            received = count_part_bytes(folder.glob("part_*"))
            room = min(MAX_PART, upload["bytes"] - received, self.files.count_room())
            try:
                copy_within(content, unfinished, room)
                unfinished.rename(folder / part_id)
            finally:
                unfinished.unlink(missing_ok=True)
        created = int(time.time())
        return {"id": part_id, "object": "upload.part", "created_at": created, "upload_id": upload_id}

    def complete(self, upload_id: str, part_ids: list[str], md5: str | None) -> Json:
        """Joins the parts in this order to a file. A repeated request returns the same file. Raises ApiError if the
        parts do not have the announced number of bytes."""
        with self.lock:
            upload = self._read(upload_id)
            if upload["status"] == "completed":
                return upload
            self._get_pending(upload_id)
            joined = self.folder / upload_id / "joined_part_files"
            parts = [joined.parent / part_id for part_id in part_ids if PART_ID.fullmatch(part_id)]
            parts = [part for part in parts if part.exists()]
            num_bytes = count_part_bytes(parts)
            if len(parts) < len(part_ids) or num_bytes != upload["bytes"]:
                message = (
                    f"{len(parts)} of {len(part_ids)} parts were found, with {num_bytes:,} bytes, but the upload "
                    f"announced {upload['bytes']:,} bytes."
                )
                raise ApiError(400, message, "part_ids", "invalid_value")
            try:
                with joined.open("w+b") as content:
                    for part in parts:
                        content.writelines(iter_chunks(part))
                    content.seek(0)
                    if md5 and hashlib.file_digest(content, "md5").hexdigest() != md5.lower():
                        message = "The parts do not have this md5. Upload them again."
                        raise ApiError(400, message, "md5", "invalid_value")
                    content.seek(0)
                    fields = (upload["filename"], upload["purpose"], upload["expires_after"])
                    num_freed = count_part_bytes(joined.parent.glob("*part_*"))  # the joined file included
                    file = self.files.store(content, *fields, _get_file_id(upload_id), num_freed)
            finally:
                joined.unlink(missing_ok=True)
            return self._end(upload_id, "completed", file=file)

    def cancel(self, upload_id: str) -> Json:
        """Deletes the parts. Raises ApiError if the upload is not pending."""
        with self.lock:
            self._get_pending(upload_id)
            return self._end(upload_id, "cancelled")

    def _get_pending(self, upload_id: str) -> Json:
        upload = self._read(upload_id)
        if upload["status"] != "pending":
            raise ApiError(400, f"The upload is {upload['status']}.", "upload_id", "invalid_status")
        return upload

    def _read(self, upload_id: str) -> Json:
        file = self.folder / upload_id / "upload.json"
        if not UPLOAD_ID.fullmatch(upload_id) or not file.exists():
            raise ApiError(404, f"No such Upload object: {upload_id}", "upload_id")
        upload = read_json(file)
        if upload["status"] == "pending" and self.files.find(_get_file_id(upload_id)):
            # The server was killed after it had stored the file.
            return self._end(upload_id, "completed", file=self.files.get(_get_file_id(upload_id)))
        is_late = upload["status"] == "pending" and upload["expires_at"] <= time.time()
        return self._end(upload_id, "expired") if is_late else upload

    def _end(self, upload_id: str, status: str, **fields: Json) -> Json:
        file = self.folder / upload_id / "upload.json"
        upload = {**read_json(file), "status": status, **fields}
        write_json(file, upload)
        for part in file.parent.glob("*part_*"):
            part.unlink(missing_ok=True)
        return upload

    def _prune(self) -> None:
        with self.lock:
            for file in self.folder.glob("upload_*/upload.json"):
                if self._read(file.parent.name)["expires_at"] < time.time() - LIFETIME:
                    shutil.rmtree(file.parent, ignore_errors=True)


def _get_file_id(upload_id: str) -> str:
    return upload_id.replace("upload_", "file-")
