"""A model of the task that a comparison and a training would not find."""

from __future__ import annotations

from collections.abc import Iterator

from etude.checks.material import Material
from etude.models.registry import is_fake
from etude.models.weights import why_unknown
from etude.types import Finding


def unknown_models(material: Material) -> Iterator[Finding]:
    """One finding for each key that names no model. Packaged models and hub ids are taken as named, be they on this
    machine or not."""
    task = material.task
    for key, name in {"model": task.model, "prompt_model": task.prompt_model}.items():
        reason = why_unknown(name) if name and not is_fake(name) else ""
        if reason:
            yield Finding(
                kind="unknown_model",
                severity="note",
                rows=(),
                message=f"Not found, {key}: {reason} All checks ran all the same, as none needs a model: whether a row "
                "is too long is told by its words, of which no token holds two.",
                remedy=f"Correct {key} in {task.file.name} before etude compare and etude train, which stop there.",
                where=(task.file.name,),
                numbers={"rows": 0, "of": len(material.rows)},
            )
