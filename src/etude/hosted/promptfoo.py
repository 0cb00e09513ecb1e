"""Convert a promptfoo configuration to an eval of OpenAI's API; outputs of a results file become stored answers."""

import json
import re
from typing import Any

from etude.base.files import Json
from etude.errors import quote_value
from etude.graders.templates import read_content
from etude.hosted.file_store import read_object
from etude.hosted.saved_objects import PROMPTFOO, RESULTS, SavedFolder, SavedObject

OPERATIONS = {"equals": "eq", "not-equals": "ne", "contains": "like", "icontains": "ilike"}
"""Type of an assertion -> the equal operation of a string check."""
VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")


def add_promptfoo(saved: SavedFolder) -> None:
    """Add the configurations to the folder's objects: tests as items, assertions as criteria, the first prompt as the
    template of a run. If there is a saved eval, configurations are left out, because they were made from it."""
    for config in saved.get(PROMPTFOO) if not saved.get("eval") else ():
        criteria, items = list[Json](), dict[str, Json]()
        shared = read_object(config.body.get("defaultTest"))
        for test in _list_tests(saved, config):
            variables = read_object(shared.get("vars")) | read_object(test.get("vars"))
            item = items[json.dumps(variables, sort_keys=True)] = dict(variables)
            for is_own, owner in enumerate((shared, test)):
                for assertion in map(read_object, owner.get("assert") or []):
                    criterion = _convert_assertion(assertion, item, bool(is_own))
                    criteria += [] if criterion in criteria else [criterion]
        eval_id, run_id = "promptfoo", {"eval_id": "promptfoo", "run_id": "promptfoo"}
        prompt = config.body["prompts"]
        template = _convert_prompt(prompt[0] if isinstance(prompt, list) and prompt else prompt)
        if not any("{{" in turn["content"] for turn in template):
            remedy = "write the text of the prompt into the configuration, with {{variables}}, not the name of its file"
            message = "the prompt has no variables, so all inputs would be the same"
            saved.add_issue(config.location, message, quote_value(prompt), remedy)
        content = [{"item": item} for item in items.values()]
        source = {"input_messages": {"template": template}, "source": {"content": content}}
        name = config.body.get("description")
        objects: list[Json] = [
            {"object": "eval", "id": eval_id, "name": name, "testing_criteria": criteria},
            {"object": "eval.run", "id": eval_id, "eval_id": eval_id, "data_source": source},
        ]
        for result in (line for results in saved.get(RESULTS) for line in results.body["results"]["results"]):
            output = read_object(read_object(result).get("response")).get("output")
            answered = (
                items.get(json.dumps(result.get("vars"), sort_keys=True)) if output is not None else None
            )
            if answered is not None:
                provider = result.get("provider")
                model = str(provider.get("id") if isinstance(provider, dict) else provider)
                text = output if isinstance(output, str) else json.dumps(output)
                sample = {"output_text": text, "model": re.sub(r"^openai:((chat|responses):)?", "", model)}
                line = {"object": "eval.run.output_item", "datasource_item": answered, "sample": sample}
                objects.append(line | run_id)
        for body in objects:
            saved.objects.setdefault(body["object"], []).append(
                SavedObject(body, config.location, config.file)
            )


def _list_tests(saved: SavedFolder, config: SavedObject) -> list[Json]:
    tests: Any = config.body["tests"]
    if isinstance(tests, str):
        named = (file for file in saved.row_files if file.name == tests.rpartition("/")[2])
        tests = [line for file in named for _, line in saved.read_json_lines(file)]
    if not isinstance(tests, list) or not tests:
        remedy = "write the tests into the configuration, or into a .jsonl file to which it refers"
        saved.add_issue(
            config.location, "the configuration has no tests", quote_value(config.body["tests"]), remedy
        )
    return list(map(read_object, tests if isinstance(tests, list) else []))


def _convert_prompt(prompt: Any) -> list[Json]:
    """Return the messages of a prompt (a text, or a chat as JSON), with placeholders in OpenAI's format."""
    text = str(prompt.get("raw") if isinstance(prompt, dict) else prompt)
    try:
        chat = json.loads(text)
    except ValueError:
        chat = None
    turns = map(read_object, chat if isinstance(chat, list) else [{"role": "user", "content": text}])
    return [turn | {"content": _rename_variables(read_content(turn.get("content")))} for turn in turns]


def _convert_assertion(assertion: Json, item: Json, is_own: bool) -> Json:
    """Return the equal string check, if there is one. A test's own text becomes a field of its item."""
    kind, value = str(assertion.get("type")), str(assertion.get("value"))
    reference = _rename_variables(value)
    if kind in OPERATIONS and is_own and reference == value:
        item["expected"], reference = value, "{{item.expected}}"
    check = {"type": "string_check", "operation": OPERATIONS[kind]} if kind in OPERATIONS else {"type": kind}
    return check | {"name": kind, "input": "{{sample.output_text}}", "reference": reference}


def _rename_variables(text: str) -> str:
    return VARIABLE.sub(r"{{item.\1}}", text)
