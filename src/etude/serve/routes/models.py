"""/v1/models: the assistants, and their weights in memory."""

import asyncio

from etude.serve.catalogue import ServedModel
from etude.serve.schemas import Json
from etude.serve.server import ServerState


async def list_models(server: ServerState) -> Json:
    """List the assistants."""
    names = await asyncio.to_thread(server.list_models)
    return {"object": "list", "data": [_describe(name, server.find_model(name)) for name in names]}


async def get_model(name: str, server: ServerState) -> Json:
    """Describe one assistant."""
    return _describe(name, server.find_model(name))


def _describe(name: str, served: ServedModel) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": served.created,
        "owned_by": "etude",
        "method": served.assistant.method,
        "base": served.assistant.model.name,
    }
