"""Start a server and run it until SIGTERM or Ctrl-C."""

import logging
import sys
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from etude.errors import InputError
from etude.models.registry import Models
from etude.runs.recommended import describe_changes, describe_failed_gates, load_endpoints
from etude.serve.app import build_app
from etude.serve.catalogue import load_catalogue
from etude.serve.engine import ServingEngine, ServingLimits
from etude.serve.extension import ServerExtension
from etude.serve.server import ServerSettings
from etude.task import Endpoint
from etude.web.connections import LimitedProtocol, limit_connections, open_listener
from etude.web.shell import LOOPBACK


def run_server(
    places: Sequence[str],
    method: str | None,
    engine: str,
    host: str,
    port: int,
    settings: ServerSettings,
    extensions: Sequence[ServerExtension] = (),
    run_tools: bool = False,
) -> None:
    """Serve the assistants of these places until SIGTERM or Ctrl-C, then answer the requests still
    in the queue.

    Port 0 chooses a free port. Prints the address on stdout and a JSON line for every request on
    stderr. Raises InputError if the host is not localhost and there are no keys, and if the port
    cannot be used.
    """
    if host not in LOOPBACK and not (settings.keys or settings.key_file):
        remedy = (
            "set ETUDE_API_KEY, or create a key: --keys FILE --new-key NAME; start with --keys FILE"
        )
        raise InputError.of("--host", "any host other than localhost needs API keys", host, remedy)
    catalogue = load_catalogue(places, method, engine, run_tools)
    listener = open_listener(host, port)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("etude.serve").setLevel(logging.INFO)
    endpoints: dict[str, Endpoint] = {}
    for served in catalogue.values():
        endpoints |= load_endpoints(served.assistant, served.run)
    models = Models(endpoints=endpoints)
    models.expected = [served.assistant.model for served in catalogue.values()]
    app = build_app(catalogue, ServingEngine(models, settings.limits), settings, extensions)
    url_host = f"[{host}]" if ":" in host else host
    names = [*catalogue, *(extension.title for extension in extensions if extension.title)]
    print(f"Serving {', '.join(names)} at http://{url_host}:{listener.getsockname()[1]}/v1")
    if settings.record:
        print(
            f"Recording requests in {settings.record.folder}. To read them: etude watch TASK FOLDER"
        )
    for served in catalogue.values():
        unmeasured = served.unmeasured_reason
        sentences = [f"{served.name} is {served.source}.", served.reason]
        sentences += [f"Its answers are not as measured: {unmeasured}."] if unmeasured else []
        sentences += (
            [f"{served.tools.name} of {served.tools.file.name} runs its calls."]
            if served.tools
            else []
        )
        if run := served.run:
            warnings = describe_changes(run), describe_failed_gates(run, served.assistant.method)
            sentences += [f"Warning: {warning}" for warning in warnings if warning]
        print(" ".join(filter(None, sentences)), flush=True)
    uvicorn.Server(build_config(app, settings.limits)).run(sockets=[listener])


def build_config(app: FastAPI, limits: ServingLimits) -> uvicorn.Config:
    """Build uvicorn's configuration."""

    class Protocol(LimitedProtocol):
        max_connections = limit_connections(limits.connections)
        head_seconds = limits.receive_seconds

    return uvicorn.Config(
        app,
        http=Protocol,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
    )
