"""/v1/models: the assistants, and their weights in memory."""

import asyncio

from etude.serve.catalogue import ServedModel
from etude.serve.schemas import Json
from etude.serve.server import HostedState, ServerState


async def list_models(server: ServerState) -> Json:
    """List the assistants."""
    names = await asyncio.to_thread(server.list_models)
    return {"object": "list", "data": [_describe(name, server.find_model(name)) for name in names]}


async def get_model(name: str, server: ServerState) -> Json:
    """Describe one assistant."""
    return _describe(name, server.find_model(name))


async def delete_model(name: str, hosted: HostedState) -> Json:
    """Delete the weights of a tuned model."""
    await hosted.file_threads.run(hosted.fine_tuning.delete_model, name)
    return {"id": name, "object": "model", "deleted": True}


def _describe(name: str, served: ServedModel) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": served.created,
        "owned_by": "etude",
        "method": served.assistant.method,
        "base": served.assistant.model.name,
    }
