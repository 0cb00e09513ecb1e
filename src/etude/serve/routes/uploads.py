"""/v1/uploads: files that are uploaded in parts, as in OpenAI's API."""

from typing import Annotated, Literal

from fastapi import File, UploadFile
from pydantic import BaseModel, Field

from etude.serve.schemas import Json
from etude.serve.server import HostedState


class FileExpiry(BaseModel):
    """The time at which the file is deleted."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class CreateUploadRequest(BaseModel):
    """The body of a new upload."""

    filename: Annotated[str, Field(min_length=1)]
    purpose: str
    bytes: Annotated[int, Field(ge=1)]
    mime_type: str
    expires_after: FileExpiry | None = None


class CompleteUploadRequest(BaseModel):
    """The parts of a file, in order."""

    part_ids: Annotated[list[str], Field(min_length=1, max_length=1000)]
    md5: str | None = None


async def create_upload(body: CreateUploadRequest, hosted: HostedState) -> Json:
    """Begins an upload."""
    seconds = body.expires_after.seconds if body.expires_after else None
    return await hosted.file_threads.run(
        hosted.uploads.create, body.filename, body.purpose, body.bytes, seconds
    )


async def add_part(upload_id: str, hosted: HostedState, data: Annotated[UploadFile, File()]) -> Json:
    """Stores a part."""
    return await hosted.file_threads.run(hosted.uploads.add_part, upload_id, data.file)


async def complete_upload(upload_id: str, body: CompleteUploadRequest, hosted: HostedState) -> Json:
    """Joins the parts to a file."""
    return await hosted.file_threads.run(hosted.uploads.complete, upload_id, body.part_ids, body.md5)


async def cancel_upload(upload_id: str, hosted: HostedState) -> Json:
    """Deletes the parts."""
    return await hosted.file_threads.run(hosted.uploads.cancel, upload_id)
