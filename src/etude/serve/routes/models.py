"""/v1/models: the assistants, and their weights in memory."""

import asyncio

from etude.serve.catalogue import ServedModel
from etude.serve.schemas import Json
from etude.serve.server import HostedState, ServerState


async def list_models(server: ServerState) -> Json:
    """List the assistants."""
    models = [_describe(served) for served in server.catalogue.values()]
    if server.hosted:
        names = await asyncio.to_thread(server.hosted.fine_tuning.list_models)
        models += [_describe(server.find_model(name)) for name in names]
    return {"object": "list", "data": models}


async def get_model(name: str, server: ServerState) -> Json:
    """Describe one assistant."""
    return _describe(server.find_model(name))


async def delete_model(name: str, hosted: HostedState) -> Json:
    """Delete the weights of a tuned model."""
    await asyncio.to_thread(hosted.fine_tuning.delete_model, name)
    return {"id": name, "object": "model", "deleted": True}


async def load_model(name: str, server: ServerState) -> Json:
    """Load the weights of an assistant, if they are not in memory."""
    served = server.find_model(name)
    await asyncio.to_thread(server.engine.run_and_wait, lambda: server.load_weights(served))
    return _describe(served)


async def unload_model(name: str, server: ServerState) -> Json:
    """Drop the adapter of an assistant from memory; the next request loads it again."""
    served, engine = server.find_model(name), server.engine
    await asyncio.to_thread(engine.run_and_wait, lambda: engine.forget(name, served.assistant.model))
    return _describe(served)


def _describe(served: ServedModel) -> Json:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "etude",
        "method": served.assistant.method,
        "base": served.assistant.model.name,
    }
