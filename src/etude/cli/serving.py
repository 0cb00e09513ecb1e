"""`etude serve` and `etude studio` in the terminal."""

from __future__ import annotations

import getpass
import math
import re
import socket
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from etude.base.remedies import instead
from etude.base.wording import count
from etude.errors import InputError, Issue, MissingExtraError
from etude.task.endpoint import is_url

if TYPE_CHECKING:
    from etude.serve.engine import Limits

CHECKED = 200
"""Test rows that `--check` answers."""


def run_check(places: Sequence[str], method: str | None, engine: str) -> int:
    """Answers test rows of each run with the engine; returns the exit code, 1 if one loses more than its margin."""
    from etude.export import retest
    from etude.runs import Run
    from etude.serve.catalogue import catalogue

    loses = False
    for served in catalogue(places, method, engine).values():
        result = retest(Run(served.place), served.assistant, served.assistant.model, CHECKED)
        typer.echo(f"{served.name}: {result.sentence}")
        loses |= result.loses
    return int(loses)


def run_serve(
    places: Sequence[str],
    method: str | None,
    engine: str,
    address: tuple[str, int],
    strict: bool,
    limits: Sequence[str],
    keys: Path | None,
    new_key: str | None,
    scopes: Sequence[str],
    origins: Sequence[str],
    log_prompts: bool,
) -> None:
    """Makes a key, or serves until it is told to end."""
    if not all(find_spec(module) for module in ("fastapi", "uvicorn", "prometheus_client")):
        raise MissingExtraError("etude serve", "serve")
    from etude.serve.app import Settings
    from etude.serve.catalogue import ENGINES
    from etude.serve.keys import new_key as made
    from etude.serve.keys import read_keys
    from etude.serve.run import run

    if new_key is not None:
        if keys is None:
            raise InputError(
                [Issue("--new-key", "no file to add the key to", new_key, "name it: --keys FILE")]
            )
        typer.echo(made(keys, new_key, scopes))
        return
    if not places:
        raise InputError(
            [Issue("PLACE", "nothing to serve", "", "name a task file, a run or a saved assistant")]
        )
    if engine not in ENGINES and not is_url(engine):
        raise InputError([Issue("--engine", "unknown", engine, instead(engine, ENGINES))])
    held = read_keys(keys) if keys else ()
    settings = Settings(limits_of(limits), held, strict, not held, tuple(origins), log_prompts)
    run(places, method, engine, *address, settings)


def limits_of(given: Sequence[str]) -> Limits:
    """The limits with those that are given as NAME=NUMBER. Raises InputError."""
    from etude.serve.engine import Limits

    known, found = asdict(Limits()), dict[str, float]()
    for each in given:
        name, _, value = each.partition("=")
        if name not in known:
            raise InputError([Issue("--limit", "unknown", name, instead(name, known))])
        if not re.fullmatch(r"\d+(\.\d+)?", value) or not float(value):
            raise InputError([Issue("--limit", "not a number above 0", each, f"write {name}={known[name]}")])
        found[name] = type(known[name])(math.ceil(float(value)) if isinstance(known[name], int) else value)
    return Limits(**found)  # type: ignore[arg-type]


def run_studio(
    task: Path,
    requests: Path | None,
    columns: Sequence[str],
    run: str | None,
    method: str | None,
    who: str | None,
    address: tuple[str, int],
    invite: Sequence[str],
) -> None:
    """Serves the pages until Ctrl-C; prints the link that signs the owner in, and one for each person invited."""
    try:
        import uvicorn

        from etude.studio.app import LOOPBACK, make_app
        from etude.studio.security import Keys, invited
        from etude.studio.studio import Studio
    except ImportError as error:
        raise MissingExtraError("etude studio", "serve") from error
    people = [invited(each) for each in invite]
    host = address[0]
    with _bound(*address) as listening:
        studio = Studio(task, requests, columns, run, method)
        app = make_app(studio, who or getpass.getuser(), host)
        link = f"http://{host}:{listening.getsockname()[1]}/enter?key="
        typer.echo(f"{studio.method} of {studio.run.name} answers.{studio.why}")
        if studio.num_sealed:
            typer.echo(f"{count(studio.num_sealed, 'request')} left out: test rows, or nearly.")
        for person, key in people:
            studio.queue.invite(person.name, person.role, person.hash)
            typer.echo(f"For {person.name} ({person.role}), shown this once: {link}{key}")
        if host not in LOOPBACK:
            typer.echo("Others can read what is sent unless a proxy with TLS stands before it.")
        owner = Keys(studio.queue.secret).session
        typer.echo(f"Open {link}{owner}\nWhat you say goes to {studio.log.file}. Ctrl-C ends.")
        studio.answering.start()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        server.run(sockets=[listening])
        studio.answering.stop()
        studio.comparing.stop()


def _bound(host: str, port: int) -> socket.socket:
    if host in ("0.0.0.0", "::", ""):
        what, remedy = "not an address that a browser can open", "name the one that people use"
        raise InputError([Issue("--host", what, host, remedy)])
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who opens the link before the pages are ready waits
    except OSError as error:
        listening.close()
        what = f"port {port} of {host} cannot be used ({error.strerror})"
        raise InputError([Issue("--port", what, "", "Choose another; 0 takes a free one")]) from error
    return listening
