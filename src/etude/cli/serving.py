"""`etude serve` in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import typer

from etude.errors import Fault, InputError, MissingExtraError


def run_serve(
    places: Sequence[str],
    method: str | None,
    host: str,
    port: int,
    strict: bool,
    keys: Path | None,
    new_key: str | None,
    scopes: Sequence[str],
    origins: Sequence[str],
) -> None:
    """Makes a key, or serves until it is told to end."""
    if not all(find_spec(module) for module in ("fastapi", "uvicorn", "prometheus_client")):
        raise MissingExtraError("etude serve", "serve")
    from etude.serve.app import Settings
    from etude.serve.keys import new_key as made
    from etude.serve.keys import read_keys
    from etude.serve.run import run

    if new_key is not None:
        if keys is None:
            raise InputError(
                [Fault("--new-key", "no file to add the key to", new_key, "name it: --keys FILE")]
            )
        typer.echo(made(keys, new_key, scopes))
        return
    if not places:
        raise InputError(
            [Fault("PLACE", "nothing to serve", "", "name a task file, a run or a saved assistant")]
        )
    held = read_keys(keys) if keys else ()
    loopback = not held
    run(
        places,
        method,
        host,
        port,
        Settings(keys=held, strict=strict, loopback=loopback, origins=tuple(origins)),
    )
