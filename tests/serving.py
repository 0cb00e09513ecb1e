"""A server in this process, on a free port of the loopback."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import uvicorn

from etude.assistant import Assistant
from etude.models.registry import Models
from etude.serve import promotions
from etude.serve.app import build_app
from etude.serve.catalogue import ServedModel
from etude.serve.engine import ServingEngine
from etude.serve.extension import GROUP, ExtensionOptions, ServerExtension, load_extensions
from etude.serve.launch import build_config
from etude.serve.server import ServerSettings

needs_package = pytest.mark.skipif(
    not entry_points(group=GROUP), reason="no package with routes; to run: pip install '.[openai]'"
)


@contextmanager
def serving(
    *served: ServedModel,
    settings: ServerSettings | None = None,
    models: Models | None = None,
    extensions: Sequence[ServerExtension] | None = None,
) -> Iterator[str]:
    """The address of a server of these assistants, with the extensions that are installed."""
    settings = settings or ServerSettings()
    if extensions is None:
        extensions = load_extensions(ExtensionOptions())
    app = build_app(
        {each.name: each for each in served},
        ServingEngine(models or Models(), settings.limits),
        settings,
        extensions,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the server itself does
    server = uvicorn.Server(build_config(app, settings.limits))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    with patch.object(promotions, "POLL_SECONDS", 0.02):
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def open_client(*served: ServedModel, **options: Any) -> Iterator[Any]:
    """A client of OpenAI's, connected to a server of these assistants; `options` are those of
    `serving`.
    """
    import openai

    with (
        serving(*served, **options) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def get_address(client: Any) -> str:
    """The address of the server that a client is connected to."""
    return str(client.base_url).removesuffix("/v1/")


def serve_as(name: str, assistant: Assistant, feedback: Path = Path("/nowhere")) -> ServedModel:
    return ServedModel(name, assistant, Path(name), feedback)
