"""/v1/responses: answers as items. With --jobs they are stored, and a client can continue them by
their id.
"""

import asyncio
from dataclasses import replace
from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError

from etude.serve.answering import PreparedAnswer, respond
from etude.serve.generation import build_chat_request
from etude.serve.schemas import Json
from etude.serve.server import Server, ServerState
from etude.web.api_errors import ApiError, to_body_error
from etude_openai import item_schemas
from etude_openai.hosted.file_store import paginate
from etude_openai.hosted.response_store import ResponseStore, create_response_id
from etude_openai.response_object import ResponseBuilder
from etude_openai.routes.fine_tuning import Limit
from etude_openai.state import HostedState, get_state

PARAMETERS = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "response_format.json_schema": "text.format.schema",
}
"""Name of a field in errors about a chat -> its name in this route."""


async def create_response(
    body: item_schemas.CreateResponseRequest, request: Request, server: ServerState
) -> Response:
    """Answer a list of items."""
    prepared = await asyncio.to_thread(prepare_response, server, body)
    return await respond(server, prepared, request)


async def get_response(response_id: str, hosted: HostedState, stream: bool = False) -> Json:
    """Return a stored response."""
    if stream:
        raise ApiError(501, "A stored response cannot be streamed.", "stream", "not_supported")
    return (await hosted.file_threads.run(hosted.responses.get, response_id))[0]


async def list_input_items(
    response_id: str,
    hosted: HostedState,
    after: str | None = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Json:
    """List the whole conversation before a stored response, the latest item first unless `order` is
    asc.
    """
    _, items = await hosted.file_threads.run(hosted.responses.get, response_id)
    formatted = item_schemas.format_input_items(
        item_schemas.ITEMS.validate_python(items), response_id
    )
    return paginate(formatted if order == "asc" else formatted[::-1], after, limit)


async def delete_response(response_id: str, hosted: HostedState) -> Json:
    """Delete a stored response."""
    await hosted.file_threads.run(hosted.responses.delete, response_id)
    return {"id": response_id, "object": "response", "deleted": True}


def prepare_response(server: Server, body: item_schemas.CreateResponseRequest) -> PreparedAnswer:
    """Convert the body, with the earlier conversation from disk. Raises ApiError if the server
    cannot answer it.
    """
    served = server.find_model(body.model)
    settings = server.settings
    hosted = get_state(server).hosted
    store = hosted.responses if hosted else None
    items = [*_read_earlier(store, body.previous_response_id), *item_schemas.list_items(body.input)]
    try:
        request = build_chat_request(served, body.to_chat(items), settings.limits, settings.strict)
    except ValidationError as error:
        raise to_body_error(error.errors()) from error
    except ApiError as error:
        param = PARAMETERS.get(error.param or "", error.param)
        raise ApiError(error.status, error.message, param, error.code) from error
    request = replace(request, ignored=(*item_schemas.list_chat_fields(body), *request.ignored))
    is_stored = store is not None and body.store is not False

    def save(response: Json) -> None:
        if store is None or not is_stored:
            return
        try:
            store.add(response, item_schemas.ITEMS.dump_python(items, mode="json"))
        except OSError as error:
            message = (
                f"The server cannot store the response ({error.strerror}). Send it again with "
                "store: false."
            )
            raise ApiError(507, message, "store", "not_saved") from error

    response_id = create_response_id()
    builder = ResponseBuilder(response_id, body, request, is_stored, save)
    return PreparedAnswer(
        response_id, request, builder.build_body, builder.build_events if body.stream else None
    )


def _read_earlier(store: ResponseStore | None, response_id: str | None) -> list[item_schemas.Item]:
    if response_id is None:
        return []
    if store is None:
        message = (
            "This server does not store responses. Start it with --jobs FOLDER, or send the whole "
            "conversation."
        )
        raise ApiError(400, message, "previous_response_id", "jobs_off")
    try:
        response, items = store.get(response_id)
    except ApiError as error:
        message = f"Previous response with id '{response_id}' not found."
        code = "previous_response_not_found"
        raise ApiError(400, message, "previous_response_id", code) from error
    return item_schemas.ITEMS.validate_python([*items, *response["output"]])
