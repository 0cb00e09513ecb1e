"""A server in this process, on a free port of the loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from etude.assistant import Assistant
from etude.models.registry import Models
from etude.serve.app import Settings, build_app
from etude.serve.catalogue import Served
from etude.serve.engine import Engine


@contextmanager
def serving(*served: Served, settings: Settings | None = None, models: Models | None = None) -> Iterator[str]:
    """The address of a server of these assistants."""
    settings = settings or Settings()
    app = build_app(
        {each.name: each for each in served}, Engine(models or Models(), settings.limits), settings
    )
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def named(name: str, assistant: Assistant, feedback: Path = Path("/nowhere")) -> Served:
    """An assistant under a name."""
    return Served(name, assistant, Path(name), feedback)
