"""Evals with their items and the answers of models, from the saved objects of a folder."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from etude.base.files import Json
from etude.errors import InputError, quote_value
from etude_openai.graders.templates import read_content, render_template
from etude_openai.saved.saved_objects import SavedFolder, SavedObject

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass
class EvalItem:
    """One item and the answers of models to it."""

    item: Json
    location: str
    turns: list[Json] = field(default_factory=list)
    """The messages that were sent to the models; empty if unknown."""
    answers: dict[str, str] = field(default_factory=dict)
    """Model -> its latest stored answer."""
    passed: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Model -> id or name of a criterion -> whether its answer passed, as recorded."""


@dataclass
class SavedEval:
    """The criteria of an eval and its items."""

    id: str
    name: str
    location: str
    criteria: list[Any]
    """Graders in the API's format, not validated."""
    items: dict[str, EvalItem] = field(default_factory=dict)
    """The item as JSON -> the item."""


def read_evals(saved: SavedFolder) -> list[SavedEval]:
    """Return all evals of a folder. Errors are added to the folder's issues."""
    evals: dict[str, SavedEval] = {}
    for item in saved.get("eval"):
        eval_id = item.body["id"]
        name = str(item.body.get("name") or item.body["id"])
        evals[eval_id] = SavedEval(eval_id, name, item.location, item.body["testing_criteria"])
    outputs: dict[str, list[SavedObject]] = {}
    for output in saved.get("eval.run.output_item"):
        outputs.setdefault(output.body["run_id"], []).append(output)
    runs: dict[str, SavedObject] = {
        run.body["id"]: run
        for run in sorted(saved.get("eval.run"), key=lambda run: run.body.get("created_at") or 0)
    }
    for run_id in dict.fromkeys([*runs, *outputs]):
        run = runs.get(run_id)
        run_outputs = outputs.get(run_id, [])
        owner = run or run_outputs[0]
        if owner.body["eval_id"] in evals:
            _add_run(saved, evals[owner.body["eval_id"]], run, run_outputs)
        else:
            message = f"the eval of this {owner.body['object']} is not in the folder"
            remedy = "save the eval as the API returns it, or remove this file"
            saved.add_issue(owner.location, message, quote_value(owner.body["eval_id"]), remedy)
    return list(evals.values())


def _add_run(
    saved: SavedFolder,
    evaluation: SavedEval,
    run: SavedObject | None,
    outputs: Sequence[SavedObject],
) -> None:
    body: Json = run.body if run else {"data_source": {}}
    lines = [
        ({**output.body, "item": output.body["datasource_item"]}, output.location)
        for output in outputs
    ]
    if run and not lines:
        lines = [(line, run.location) for line in _iter_source(saved, run)]
    for line, location in lines:
        item = line["item"]
        sample = line.get("sample") or {}
        item = item["item"] if isinstance(item.get("item"), dict) else item
        key = json.dumps(item, sort_keys=True, ensure_ascii=False)
        entry = evaluation.items.setdefault(key, EvalItem(item, location))
        entry.turns = (
            entry.turns or _read_turns(sample.get("input")) or _render(saved, body, item, location)
        )
        text = _read_output(sample)
        if text is not None and not sample.get("error"):
            names = [owner.get("model") for owner in (body, body["data_source"], sample)]
            model = str(next(filter(None, [*names, body.get("name")]), "stored"))
            results = [result for result in line.get("results") or [] if isinstance(result, dict)]
            entry.answers[model] = text
            entry.passed[model] = {
                str(result.get("name")): bool(result.get("passed")) for result in results
            }


def _iter_source(saved: SavedFolder, run: SavedObject) -> Iterator[Json]:
    source = run.body["data_source"].get("source") or {}
    lines: Any = source.get("content") or []
    if source.get("type") == "file_id":
        file = saved.find_rows(run, str(source.get("id")), "the file of the run's items")
        lines = [line for _, line in saved.read_json_lines(file)] if file else []
    yield from (
        line for line in lines if isinstance(line, dict) and isinstance(line.get("item"), dict)
    )


def _read_output(sample: Json) -> str | None:
    if isinstance(sample.get("output_text"), str):
        return str(sample["output_text"])
    turns = [turn for turn in sample.get("output") or [] if isinstance(turn, dict)]
    return read_content(turns[-1].get("content")) if turns else None


def _read_turns(turns: Any) -> list[Json]:
    """Convert to messages with the roles of rows; empty unless the last message is the user's."""
    messages = [
        {"role": ROLES[turn["role"]], "content": read_content(turn.get("content"))}
        for turn in (turns if isinstance(turns, list) else [])
        if isinstance(turn, dict) and turn.get("role") in ROLES
    ]
    return messages if messages and messages[-1]["role"] == "user" else []


def _render(saved: SavedFolder, run: Json, item: Json, location: str) -> list[Json]:
    """Render a run's template for an item; returns no messages without a template."""
    messages = run["data_source"].get("input_messages") or {}
    try:
        if reference := messages.get("item_reference"):
            return _read_turns(json.loads(render_template(f"{{{{{reference}}}}}", item, {})))
        turns = messages.get("template") or []
        texts = [render_template(read_content(turn.get("content")), item, {}) for turn in turns]
    except (InputError, ValueError) as error:
        remedy = "save the output items of the run, which contain the messages"
        saved.add_issue(
            location, "the template of the run cannot be rendered for this item", str(error), remedy
        )
        return []
    return _read_turns([turn | {"content": text} for turn, text in zip(turns, texts, strict=True)])
