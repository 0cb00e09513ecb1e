"""`etude studio`: the pages on a port of this machine."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from pathlib import Path

import typer

from etude.base.wording import count
from etude.errors import Fault, InputError, MissingExtraError

HOST = "127.0.0.1"


def run_studio(
    task: Path,
    requests: Path | None,
    columns: Sequence[str],
    run: str | None,
    method: str | None,
    who: str | None,
    port: int,
) -> None:
    """Serves the pages until Ctrl-C; prints the link that signs a browser in."""
    try:
        import uvicorn

        from etude.studio.app import make_app
        from etude.studio.security import Keys
        from etude.studio.studio import Studio
    except ImportError as error:
        raise MissingExtraError("etude studio", "serve") from error
    with _bound(port) as listening:
        studio = Studio(task, requests, columns, run, method)
        app = make_app(studio, who or getpass.getuser())
        link = f"http://{HOST}:{listening.getsockname()[1]}/enter?key={Keys(studio.queue.secret).session}"
        typer.echo(f"{studio.method} of {studio.run.name} answers.{studio.why}")
        if studio.num_sealed:
            typer.echo(f"{count(studio.num_sealed, 'request')} left out: test rows, or nearly.")
        typer.echo(f"Open {link}\nWhat you say goes to {studio.log.file}. Ctrl-C ends.")
        studio.answering.start()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        server.run(sockets=[listening])
        studio.answering.stop()
        studio.comparing.stop()


def _bound(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # who opens the link before the pages are ready waits
    except OSError as error:
        listening.close()
        what = f"port {port} cannot be used ({error.strerror})"
        raise InputError([Fault("--port", what, "", "Choose another; 0 takes a free one")]) from error
    return listening
