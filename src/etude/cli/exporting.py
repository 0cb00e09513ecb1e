"""`etude export`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from etude import assistant
from etude.base import formatting, issues
from etude.base.files import write_text
from etude.cli.options import AssistantPath, MethodName, Yes
from etude.cli.printing import RunConsole
from etude.errors import Declined, InputError, MissingExtraError
from etude.export import (
    HUB,
    TARGETS,
    describe_losses,
    describe_upload,
    export_for_hub,
    export_weights,
    measure_loss,
    upload_folder,
)
from etude.models.weights import CARD_FILE, HUB_ID
from etude.runs.questions import SensitiveQuestion
from etude.runs.recommended import find_run_at, find_run_of, load
from etude.types import CLASSICAL, ModelRef

KINDS = ("f16", "q8_0", "q4_1")


def export(
    place: AssistantPath,
    to: Annotated[
        str, typer.Option("--to", help="adapter, merged, gguf, lora (GGUF), ollama, vllm or hub.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File or folder to write.")],
    method: MethodName = None,
    kind: Annotated[
        str, typer.Option("--kind", help="Type of GGUF weights: f16, q8_0 or q4_1.")
    ] = "q8_0",
    rows: Annotated[
        int | None, typer.Option("--rows", min=2, help="Test rows to answer. Default: all.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Answer test rows with the exported assistant.")
    ] = True,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo",
            metavar="OWNER/NAME",
            help="With --to hub: also upload there, after a question.",
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Export an assistant to another program and measure what it loses there. Exit with 1 if it
    loses too much.
    """
    # Looking for the modules takes no time; importing torch takes seconds.
    if not all(find_spec(module) for module in ("torch", "gguf")):
        raise MissingExtraError("etude export", "train")
    check_options(to, kind, output, repo)
    tuned = load(place, method)
    run = find_run_of(place)
    check_exportable(tuned, to, place)
    typer.echo(describe_losses(tuned))
    # Writing takes seconds; answering the test rows takes most of the time.
    if to == HUB:
        assert run is not None, "check_exportable has refused it"
        exported = export_for_hub(run, tuned, output, repo or "")
    else:
        exported = export_weights(tuned, to, output, kind)
    typer.echo(f"Wrote {exported.path}. Use: {exported.instructions}")
    if test and exported.model is not None and not (place / assistant.FILE).exists():
        check_loss(place, tuned, exported.model, rows, output / CARD_FILE if to == HUB else None)
    if repo:
        question = SensitiveQuestion(describe_upload(output, repo, tuned))
        if not RunConsole(Console(), yes).confirm(question):
            raise Declined(f"Nothing was uploaded; {output} stays. To agree in advance, add --yes.")
        typer.echo(f"Uploaded to {upload_folder(output, repo)}")


def check_options(to: str, kind: str, output: Path, repo: str | None) -> None:
    """Check options against each other and the disk. Raises InputError."""
    issues.check_known("--to", [to], (*TARGETS, HUB))
    issues.check_known("--kind", [kind], KINDS)
    issues.refuse_existing(output, "delete it, or choose another path")
    if repo and to != HUB:
        raise InputError.of(
            "--repo", "only --to hub uploads", repo, "leave out --repo, or use --to hub"
        )
    if repo and not HUB_ID.fullmatch(repo):
        raise InputError.of("--repo", "not OWNER/NAME", repo, "write it as in me/luma")


def check_exportable(tuned: assistant.Assistant, to: str, place: Path) -> None:
    """Check that an assistant has what a target needs. Raises InputError."""
    if tuned.model.adapter is None and to != "ollama":
        message = "has no tuned weights to export"
        remedy = "serve it with etude serve, or choose a tuned method with --method"
        raise InputError.of("export", message, tuned.method, remedy)
    if tuned.model.name == CLASSICAL:
        message = "is not a language model, so it cannot be exported"
        raise InputError.of("export", message, tuned.method, "serve it with etude serve")
    if to == HUB and find_run_of(place) is None:
        message = "is not in a run, so there are no results for the card"
        raise InputError.of(str(place), message, "", "give the run's folder or the task file")


def check_loss(
    place: Path,
    tuned: assistant.Assistant,
    model: ModelRef,
    rows: int | None,
    card: Path | None = None,
) -> None:
    """Answer `rows` test rows (None: all) with exported weights; print the difference, and append
    it to the card. Exit with 1 if they lose more than the task's margin.
    """
    run = find_run_at(place)
    if run.command == "train":
        typer.echo(
            "A training has no test, so what the export loses was not measured. Run etude compare "
            "for that."
        )
        return
    result = measure_loss(run, tuned, model, rows)
    typer.echo(result.sentence)
    if card:
        write_text(
            card, f"{card.read_text(encoding='utf-8')}\n## After the export\n\n{result.sentence}\n"
        )
    # The observed loss exceeds the margin, even if that may be chance.
    if result.is_worse:
        message = (
            f"That is more than the task's margin of {formatting.format_points(result.margin)} "
            "points."
        )
        if result.difference.high > 0:
            message += " With so few rows this may be chance: answer more rows (--rows)."
        typer.echo(message, err=True)
        raise typer.Exit(1)
