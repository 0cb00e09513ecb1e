"""`etude export`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from etude import assistant
from etude.base import formatting, issues
from etude.cli.options import AssistantPath, MethodName
from etude.errors import InputError, Issue, MissingExtraError
from etude.export import TARGETS, describe_losses, export_weights, measure_loss
from etude.runs.recommended import find_run_at, load
from etude.types import CLASSICAL

KINDS = ("f16", "q8_0", "q4_1")


def export(
    place: AssistantPath,
    to: Annotated[str, typer.Option("--to", help="adapter, merged, gguf, lora (GGUF), ollama or vllm.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File or folder to write.")],
    method: MethodName = None,
    kind: Annotated[str, typer.Option("--kind", help="Type of GGUF weights: f16, q8_0 or q4_1.")] = "q8_0",
    rows: Annotated[
        int | None, typer.Option("--rows", min=2, help="Test rows to answer. Default: all.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Answer test rows with the exported assistant.")
    ] = True,
) -> None:
    """Write an assistant for another program, and measure what it loses there. Exit with 1 if that is too much."""
    for name, value, choices in (("--to", to, tuple(TARGETS)), ("--kind", kind, KINDS)):
        if value not in choices:
            raise InputError([Issue(name, "unknown", value, issues.suggest_instead(value, choices))])
    # Looking for the modules takes no time; importing torch takes seconds.
    if not all(find_spec(module) for module in ("torch", "gguf")):
        raise MissingExtraError("etude export", "train")
    if output.exists():
        raise InputError([Issue(str(output), "already exists", "", "delete it, or choose another path")])
    tuned = load(place, method)
    if tuned.model.adapter is None and to != "ollama":
        message, remedy = (
            "has no tuned weights to export",
            "serve it with etude serve, or choose a --method that tunes",
        )
        raise InputError([Issue("export", message, tuned.method, remedy)])
    if tuned.model.name == CLASSICAL:
        message = "is not a language model, which --to needs"
        raise InputError([Issue("export", message, tuned.method, "serve it with etude serve")])
    typer.echo(describe_losses(tuned))
    # Writing takes seconds; answering the test rows takes most of the time.
    exported = export_weights(tuned, to, output, kind)
    typer.echo(f"Wrote {exported.path}. Use: {exported.instructions}")
    if not test or exported.model is None or (place / assistant.FILE).exists():
        return
    result = measure_loss(find_run_at(place), tuned, exported.model, rows)
    typer.echo(result.sentence)
    # Worse than the margin, even if that may be chance.
    if result.is_worse:
        message = f"That is more than the task's margin of {formatting.format_points(result.margin)} points."
        if result.difference.high > 0:
            message += " With so few rows it may be chance: measure more (--rows)."
        typer.echo(message, err=True)
        raise typer.Exit(1)
