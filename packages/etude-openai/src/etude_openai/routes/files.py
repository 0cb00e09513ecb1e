"""/v1/files: uploads and results, as OpenAI's API has them."""

from typing import Annotated

from fastapi import File, Form, Request, UploadFile
from starlette.responses import Response, StreamingResponse

from etude.serve.schemas import Json
from etude.web.api_errors import ApiError
from etude_openai.hosted.file_store import iter_chunks, paginate
from etude_openai.state import HostedState, get_state

FORM_BODY = 64_000  # bytes of the form around a file


async def check_upload(request: Request) -> None:
    """Check that there is room for an upload. Raises ApiError."""
    hosted = get_state(request.app.state.server).hosted
    if hosted is None:
        return
    length = request.headers.get("content-length")
    if length is None:
        raise ApiError(411, "Send the header Content-Length with an upload.")
    room = await hosted.file_threads.run(hosted.files.count_room)
    if int(length) > room + FORM_BODY:
        message = (
            f"The body has {int(length):,} bytes; this server can still store {max(0, room):,}. "
            "Delete files, or start the server with a larger --quota."
        )
        raise ApiError(413, message, "file")


async def create_file(
    hosted: HostedState,
    request: Request,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[str, Form()],
) -> Json:
    """Stores an uploaded file."""
    seconds = (await request.form()).get("expires_after[seconds]")
    expires_after = int(seconds) if isinstance(seconds, str) and seconds.isdecimal() else None
    add = hosted.files.add
    return await hosted.file_threads.run(
        add, file.file, file.filename or "upload", purpose, expires_after
    )


async def list_files(
    hosted: HostedState,
    purpose: str | None = None,
    limit: int = 10_000,
    after: str | None = None,
    order: str = "desc",
) -> Json:
    """Lists files, the newest first unless `order` is asc."""
    files = await hosted.file_threads.run(hosted.files.list)
    chosen = [file for file in files if purpose in (None, file["purpose"])]
    return paginate(chosen if order == "desc" else chosen[::-1], after, limit)


async def get_file(file_id: str, hosted: HostedState) -> Json:
    """Describes a file."""
    return await hosted.file_threads.run(hosted.files.get, file_id)


async def get_content(file_id: str, hosted: HostedState) -> Response:
    """The bytes of a file."""
    path = await hosted.file_threads.run(hosted.files.read_path, file_id)
    return StreamingResponse(iter_chunks(path), media_type="application/octet-stream")


async def delete_file(file_id: str, hosted: HostedState) -> Json:
    """Deletes a file."""
    await hosted.file_threads.run(hosted.files.delete, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
