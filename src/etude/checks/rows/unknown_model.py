"""A model of the task that a comparison and a training would not find."""

from __future__ import annotations

from collections.abc import Iterator

from etude.checks.material import Material
from etude.checks.record import FindingKind, finds
from etude.models.registry import backend_of
from etude.types import Finding


@finds(FindingKind("unknown_model", "note", "a `model:` or `prompt_model:` that does not exist"))
def unknown_models(material: Material) -> Iterator[Finding]:
    """That `model` or `prompt_model` names none. Packaged models and hub ids are taken as named, be they on this
    machine or not."""
    task = material.task
    named = {"model": task.model, "prompt_model": task.prompt_model or ""}
    reasons = {key: backend_of(name).why_unknown(name, key) for key, name in named.items() if name}
    absent = {key: reason for key, reason in reasons.items() if reason}
    if absent:
        text = " ".join(f"{key}: {reason}" for key, reason in absent.items())
        yield Finding(
            kind="unknown_model",
            severity="note",
            rows=(),
            message=f"{text} All checks ran, as none needs a model. Whether a row is too long was judged by its words: "
            "it has at least as many tokens.",
            remedy=f"Correct {' and '.join(absent)} in {task.file.name} before etude compare and etude train, which "
            "stop there.",
            locations=(task.file.name,),
            numbers={"rows": 0, "of": len(material.rows)},
        )
