"""`etude export` in the terminal."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import typer

from etude import assistant
from etude.base.remedies import instead
from etude.base.wording import points
from etude.errors import InputError, Issue, MissingExtraError
from etude.export import TARGETS, export, retest
from etude.runs.recommended import load, run_at
from etude.types import CLASSICAL

KINDS = ("f16", "q8_0", "q4_1")


def run_export(
    place: Path, to: str, output: Path, method: str | None, kind: str, rows: int | None, test: bool
) -> int:
    """Writes the assistant and answers test rows with it; returns the exit code, 1 if it loses more than the margin."""
    for name, given, known in (("--to", to, tuple(TARGETS)), ("--kind", kind, KINDS)):
        if given not in known:
            raise InputError([Issue(name, "unknown", given, instead(given, known))])
    if not all(find_spec(module) for module in ("torch", "gguf")):
        raise MissingExtraError("etude export", "train")
    if output.exists():
        raise InputError(
            [Issue(str(output), "something is there already", "", "delete it, or write to another place")]
        )
    found = load(place, method)
    if found.model.adapter is None and to != "ollama":
        what, remedy = (
            "tunes no weights, so there are none to export",
            "serve it with etude serve, or name a --method that tunes",
        )
        raise InputError([Issue("export", what, found.method, remedy)])
    if found.model.name == CLASSICAL:
        raise InputError(
            [
                Issue(
                    "export", "no language model, which --to needs", found.method, "serve it with etude serve"
                )
            ]
        )
    written = export(found, to, output, kind)
    typer.echo(f"Wrote {written.path}. Use: {written.use}")
    if not test or written.model is None or (place / assistant.FILE).exists():
        return 0
    result = retest(run_at(place), found, written.model, rows)
    typer.echo(result.sentence)
    if result.loses:
        few = (
            " The rows are too few to tell it from chance: take more (--rows)."
            if result.difference.high > 0
            else ""
        )
        typer.echo(f"That is more than the task's margin of {points(result.margin)} points.{few}", err=True)
    return int(result.loses)
