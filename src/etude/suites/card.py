"""A model card with the Hub's metadata, from measured results alone: what was not measured is said to be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from etude import assistant as saved
from etude.assistant import Assistant
from etude.base import wording
from etude.base.files import Json, read_json, read_lines, write_text
from etude.base.typed_json import from_json
from etude.runs import Run
from etude.runs.recommended import recommended
from etude.suites.measures import Measure
from etude.suites.subject import TESTS
from etude.types import Estimate

FILE = "card.md"
WATTS_PER_CORE = 10.0
"""Power assumed of a busy core with its share of the machine; energy is an estimate and says so."""
LEAST = 2
"""Cases of a kind from which its failures are named."""
_PAGE = Path(__file__).with_name("card.md.j2")


def write_card(run: Run, method: str | None = None) -> Path:
    """Writes card.md of a method's assistant, the recommended one by default, to its run's folder.

    Raises RunError if the run has no assistant yet.
    """
    name = method or recommended(run)[0]
    page = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    page.globals.update(wording=wording, watts=WATTS_PER_CORE)
    template = page.from_string(_PAGE.read_text(encoding="utf-8"))
    write_text(run.folder / FILE, template.render(_known(run, name)))
    return run.folder / FILE


def _known(run: Run, name: str) -> dict[str, Any]:
    """What is known of a method's assistant, by the names that the template uses."""
    info, record, verdict = run.info, read_json(run.method(name) / "method.json"), run.verdict
    file, findings = run.folder / TESTS / name / "test.json", run.folder / "findings.jsonl"
    tested = read_json(file) if file.exists() else None
    measured = [from_json(Measure, each) for each in tested["measures"]] if tested else []
    scores = {step.method: step.estimate for step in verdict.ladder} if verdict else {}
    assistant = saved.load(run.assistant(name))
    head = metadata(info, assistant, record, scores.get(name))
    return {
        "metadata": yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        "info": info,
        "name": name,
        "record": record,
        "assistant": assistant,
        "verdict": verdict,
        "findings": list(read_lines(findings)) if findings.exists() else [],
        "tested": tested,
        "measured": [each for each in measured if "/" not in each.name],
        "weak": _weak(measured),
        "energy": record["train_seconds"] / 3600 * WATTS_PER_CORE * (info["machine"]["cores"] or 1) / 1000,
    }


def metadata(info: Json, assistant: Assistant, record: Json, score: Estimate | None) -> dict[str, Any]:
    """What the Hub reads at the head of a card. No licence: that is for whoever publishes the weights to say."""
    name, adapter = assistant.method, assistant.model.adapter
    task = {"type": "text-classification" if info["kind"] == "classify" else "text-generation"}
    found: dict[str, Any] = {
        "base_model": record["model"],
        "library_name": "peft" if adapter and (adapter / "adapter_config.json").exists() else "transformers",
        "pipeline_tag": task["type"],
        "tags": ["etude", info["kind"], name],
    }
    if score:
        metric = {
            "type": info["metric"]["name"],
            "name": info["metric"]["label"],
            "value": round(score.value, 4),
        }
        result = {"task": task, "dataset": {"name": info["name"], "type": info["name"]}, "metrics": [metric]}
        found["model-index"] = [{"name": f"{info['name']} {name}", "results": [result]}]
    return found


def _weak(measured: Sequence[Measure]) -> list[Measure]:
    """Kinds of case in which the assistant fails more often than not, the worst first."""
    kinds = (each for each in measured if "/" in each.name and each.more_is_better and each.cases >= LEAST)
    return sorted(
        (each for each in kinds if each.assistant.value < 0.5), key=lambda each: each.assistant.value
    )
