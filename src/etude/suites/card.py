"""A model card with the Hub's metadata, from measured results only; it states what is unknown."""

from pathlib import Path
from typing import Any

import yaml

from etude import assistant as saved
from etude.assistant import Assistant
from etude.base import formatting as wording
from etude.base.files import Json, list_lines, read_json, write_text
from etude.base.pages import create_environment
from etude.base.typed_json import from_json
from etude.models.weights import describe_base, find_hub_id, is_gguf, read_licence, split_bits
from etude.runs import Run
from etude.runs.folder import TESTS
from etude.runs.recommended import choose_method
from etude.suites.measures.shares import Measure
from etude.types import Estimate

FILE = "card.md"
WATTS_PER_CORE = 10.0  # assumed power of a busy core with its share of the machine
MIN_CASES = 2  # least number of cases for a kind that the card lists as weak


def write_card(
    run: Run, method: str | None = None, file: Path | None = None, usage: str = ""
) -> Path:
    """Write the card of a method's assistant (by default the recommended one) to `file` (default:
    card.md of the run).

    `usage` is Markdown that says how to load published weights.
    Raises RunError if the run has no assistant yet.
    """
    name = method or choose_method(run)[0]
    file = file or run.folder / FILE
    templates = create_environment(Path(__file__).parent, autoescape=False)
    templates.globals.update(watts=WATTS_PER_CORE)
    template = templates.get_template("card.md.j2")
    write_text(file, template.render(_collect_facts(run, name), usage=usage))
    return file


def _collect_facts(run: Run, name: str) -> dict[str, Any]:
    info = run.info
    record = read_json(run.method_folder(name) / "method.json")
    verdict = run.verdict
    tested = read_json(run.folder / TESTS / name / "test.json", {})
    measured = [from_json(Measure, row) for row in tested["measures"]] if tested else []
    scores = {step.method: step.estimate for step in verdict.ladder} if verdict else {}
    assistant = saved.load(run.assistant_folder(name))
    # Kinds of case in which the assistant fails in more than half of the cases, the worst first.
    kinds = [measure for measure in measured if "/" in measure.name and measure.more_is_better]
    weak = [kind for kind in kinds if kind.cases >= MIN_CASES and kind.assistant.value < 0.5]
    head = build_metadata(info, assistant, record, scores.get(name))
    return {
        "metadata": yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        "info": info,
        "name": name,
        "record": record,
        "base": describe_base(record["model"]),
        "bits": split_bits(record["model"])[1],
        "assistant": assistant,
        "verdict": verdict,
        "findings": list_lines(run.folder / "findings.jsonl"),
        "tested": tested,
        "measured": [measure for measure in measured if "/" not in measure.name],
        "weak": sorted(weak, key=lambda kind: kind.assistant.value),
        "energy": record["train_seconds"]
        / 3600
        * WATTS_PER_CORE
        * (info["machine"]["cores"] or 1)
        / 1000,
    }


def build_metadata(
    info: Json, assistant: Assistant, record: Json, score: Estimate | None
) -> dict[str, Any]:
    """Build the metadata at the head of a card.

    A base that the Hub does not have is not named, and a licence that is unknown is left out. Over
    a GGUF file the adapter is published merged, so transformers loads it.
    """
    name = assistant.method
    adapter = assistant.model.adapter
    task = {"type": "text-classification" if info["kind"] == "classify" else "text-generation"}
    base = find_hub_id(record["model"])
    is_adapter = adapter is not None and (adapter / "adapter_config.json").exists()
    metadata: dict[str, Any] = {
        **({"base_model": base} if base else {}),
        **read_licence(record["model"]),
        "library_name": "peft" if is_adapter and not is_gguf(record["model"]) else "transformers",
        "pipeline_tag": task["type"],
        "tags": ["etude", info["kind"], name],
    }
    if score:
        bits = split_bits(record["model"])[1]
        note = f"; base in {bits}" if bits else ""
        interval = {"low": round(score.low, 4), "high": round(score.high, 4)}
        metric = {
            "type": info["metric"]["name"],
            "name": f"{info['metric']['label']} "
            f"(95% interval {wording.format_interval(score)}, n = "
            f"{score.n}{note})",
            "value": round(score.value, 4),
            "args": {"confidence": 0.95, **interval, "n": score.n},
        }
        dataset = {"name": info["name"], "type": info["name"], "split": "test"}
        result = {"task": task, "dataset": dataset, "metrics": [metric]}
        metadata["model-index"] = [{"name": f"{info['name']} {name}", "results": [result]}]
    return metadata
