"""Running a server until it is told to end."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Sequence

import uvicorn

from etude.errors import InputError, Issue, RunError
from etude.models.registry import Models
from etude.runs.recommended import endpoints_for
from etude.serve.app import Settings, build_app
from etude.serve.catalogue import catalogue
from etude.serve.engine import Engine
from etude.serve.guard import LOOPBACK
from etude.task import Endpoint

FASTER = "llama.cpp computes it, which is faster; --check measures what that changes, --engine local changes nothing."


def run(
    places: Sequence[str], method: str | None, engine: str, host: str, port: int, settings: Settings
) -> None:
    """Serves the assistants of these places until SIGTERM or Ctrl-C; what is running is then answered.

    Port 0 takes a free one. Prints the address on stdout and a JSON line for every request on stderr. Raises InputError
    for a host beyond the loopback without keys, RunError for a port that is taken.
    """
    if host not in LOOPBACK and not settings.keys:
        remedy = "make keys with --keys FILE --new-key NAME and add --keys FILE, or leave --host out"
        raise InputError([Issue("--host", "a host that others reach needs keys", host, remedy)])
    served = catalogue(places, method, engine)
    listening = _bound(host, port)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("etude.serve").setLevel(logging.INFO)
    endpoints: dict[str, Endpoint] = {}
    for each in served.values():
        endpoints |= endpoints_for(each.assistant, each.run)
    models = Models(endpoints=endpoints)
    models.expected = [each.assistant.model for each in served.values()]
    app = build_app(served, Engine(models, settings.limits), settings)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", server_header=False)
    shown = f"[{host}]" if ":" in host else host
    print(f"Serving {', '.join(served)} at http://{shown}:{listening.getsockname()[1]}/v1")
    for each in served.values():
        unmeasured = each.unmeasured and f"Its answers are not as measured: {each.unmeasured}."
        is_fast = engine == "auto" and each.assistant.model.name.startswith("llama_cpp:")
        told = [f"{each.name} is {each.source}.", each.why, unmeasured, FASTER if is_fast else ""]
        print(" ".join(filter(None, told)), flush=True)
    uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=2048,
            reuse_port=False,
        )
    except OSError as error:
        raise RunError(
            f"Port {port} of {host} cannot be used ({error.strerror}). Name another one: --port 0."
        ) from error
