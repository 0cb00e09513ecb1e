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


async def load_model(name: str, server: ServerState) -> Json:
    """Load the weights of an assistant, if they are not in memory."""
    served = server.find_model(name)
    await asyncio.to_thread(server.engine.run_and_wait, lambda: server.load_weights(served))
    return _describe(name, served)


async def unload_model(name: str, server: ServerState) -> Json:
    """Drop the adapter of an assistant from memory; the next request loads it again."""
    served, engine = server.find_model(name), server.engine
    await asyncio.to_thread(engine.run_and_wait, lambda: engine.forget(served.key, served.assistant.model))
    return _describe(name, served)


def _describe(name: str, served: ServedModel) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": served.created,
        "owned_by": "etude",
        "method": served.assistant.method,
        "base": served.assistant.model.name,
    }
