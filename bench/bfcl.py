"""Compare this project's check of function calls with the checker of the Berkeley Function Calling Leaderboard.

The right answers of the package bfcl-eval (Patil et al. 2025) are checked by both, and then the same answers with one
change by rule. docs/task-file.md lists the differences. Java and JavaScript are left out, because their arguments are
code.

    pip install --no-deps bfcl-eval
    python bench/bfcl.py [CHANGED]     changed answers in all (default 2000)
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from types import ModuleType, SimpleNamespace
from typing import Any

from etude.data.formats.tools import format_tool_turn
from etude.metrics import score_call_parts

Json = dict[str, Any]
SETS = ("simple_python", "multiple", "parallel", "parallel_multiple")
SETS += tuple(f"live_{name}" for name in ("simple", "multiple", "parallel", "parallel_multiple"))
MAX_OUTPUTS = 2_000  # right answers of a row; rows with more are left out


@dataclass(frozen=True)
class Row:
    """A row of the package: its functions, and for each call the right values of each argument."""

    set_name: str
    functions: Sequence[Json]
    truth: Sequence[Json]

    @cached_property
    def outputs(self) -> list[list[Json]]:
        """The right answers, as lists of calls {name: arguments}; at most one more than `MAX_OUTPUTS`."""
        calls = []
        for call in self.truth:
            ((name, options),) = call.items()
            calls.append([{name: arguments} for arguments in list_objects(options)])
        return [list(output) for output in itertools.islice(itertools.product(*calls), MAX_OUTPUTS + 1)]


def list_objects(options: Json) -> list[Json]:
    """List objects of right values, at most one more than `MAX_OUTPUTS`; "" means that a key may be absent."""
    columns = []
    for key, values in options.items():
        values = values if isinstance(values, list) else [values]
        columns.append([item for value in values for item in list_values(key, value)])
    choices = itertools.islice(itertools.product(*columns), MAX_OUTPUTS + 1)
    return [dict(itertools.chain(*choice)) for choice in choices]


def list_values(key: str, value: Any) -> list[list[tuple[str, Any]]]:
    """List the ways to write one right value: an object has right values of its own."""
    if isinstance(value, dict):
        return [[(key, inner)] for inner in list_objects(value)]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [[(key, list(inner))] for inner in itertools.product(*map(list_objects, value))]
    return [[]] if value == "" else [[(key, value)]]


def read_sets() -> Iterator[Row]:
    """Read the rows of all sets with their right answers."""
    folder = files("bfcl_eval") / "data"
    for name in SETS:
        file = f"BFCL_v4_{name}.json"
        truths = map(json.loads, (folder / "possible_answer" / file).read_text("utf-8").splitlines())
        by_id = {truth["id"]: truth["ground_truth"] for truth in truths}
        for row in map(json.loads, (folder / file).read_text("utf-8").splitlines()):
            yield Row(name, row["function"], by_id[row["id"]])


def load_their_checker() -> Callable[[Row, list[Json]], bool]:
    """Load the package's checker of calls, without the clients of models that it imports and does not use."""
    config = ModuleType("bfcl_eval.constants.model_config")
    config.MODEL_CONFIG_MAPPING = {"any": SimpleNamespace(underscore_to_dot=False)}  # type: ignore[attr-defined]
    sys.modules[config.__name__] = config
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    def check(row: Row, calls: list[Json]) -> bool:
        arguments = (copy.deepcopy(list(row.functions)), copy.deepcopy(calls), copy.deepcopy(list(row.truth)))
        return bool(ast_checker(*arguments, Language.PYTHON, row.set_name, "any")["valid"])

    return check


def write_answer(calls: Sequence[Json]) -> str:
    """Write calls as an assistant's answer."""
    named = [{"name": name, "arguments": values} for call in calls for name, values in call.items()]
    return format_tool_turn({"tool_calls": named}, "")


def check_ours(outputs: Sequence[str], calls: list[Json]) -> bool:
    """Whether the metric `calls` accepts the calls."""
    return score_call_parts(write_answer(calls), outputs)["arguments"] == 1


def change(rule: str, row: Row, draw: random.Random) -> list[Json] | None:
    """Change a right answer by a rule; None if the rule does not fit it."""
    calls = copy.deepcopy(draw.choice(row.outputs))
    if rule == "another right answer":
        return calls
    if rule in ("calls in another order", "a call twice", "a call less"):
        if rule == "a call twice":
            return [*calls, calls[0]]
        return None if len(calls) < 2 else calls[::-1] if rule == "calls in another order" else calls[1:]
    call = draw.choice(calls)
    ((name, arguments),) = call.items()
    if rule == "another function":
        call[f"{name}_all"] = call.pop(name)
        return calls
    if rule == "an unknown argument":
        arguments["verbosity_"] = 1
        return calls
    if not arguments:
        return None
    if rule == "keys in another order":
        call[name] = dict(reversed(arguments.items()))
        return calls if len(arguments) > 1 else None
    key = draw.choice([*arguments])
    if rule == "an argument less":
        del arguments[key]
        return calls
    value = change_value(rule, arguments[key])
    if value is None:
        return None
    arguments[key] = value
    return calls


def change_value(rule: str, value: Any) -> Any:
    """Change the value of an argument; None if the rule does not fit its type."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, str):
        rules = {
            "another value": f"{value} q",
            "another type": [value],
            "capital letters": value.upper() if value.upper() != value else None,
            "punctuation": f"{value}." if value else None,
        }
        return rules.get(rule)
    if rule == "another value":
        return (
            (not value if isinstance(value, bool) else value + 1) if isinstance(value, int | float) else None
        )
    if rule == "another type":
        return str(value) if is_number else "true" if value is True else None
    if rule == "1 as 1.0":
        return float(value) if is_number and isinstance(value, int) else None
    if rule == "1.0 as 1":
        return int(value) if isinstance(value, float) and value.is_integer() else None
    is_ordered = rule == "a list in another order" and isinstance(value, list) and value != value[::-1]
    return value[::-1] if is_ordered else None


RULES = (
    *("another right answer", "keys in another order", "calls in another order", "1.0 as 1"),
    *("a call twice", "a call less", "another function", "an unknown argument", "an argument less"),
    *("another value", "another type", "a list in another order"),
    *("1 as 1.0", "capital letters", "punctuation"),
)


def compare_checks(num_changed: int, seed: int = 0) -> tuple[Counter[str], dict[tuple[str, bool, bool], int]]:
    """Check right and changed answers with both. Returns numbers of rows, and (rule, ours, theirs) -> answers."""
    check_theirs, draw = load_their_checker(), random.Random(seed)
    rows, counts = list(read_sets()), Counter[str]()
    usable = [row for row in rows if 0 < len(row.outputs) <= MAX_OUTPUTS]
    counts["rows"], counts["without right answers"] = len(rows), sum(not row.outputs for row in rows)
    counts["with too many right answers"] = len(rows) - len(usable) - counts["without right answers"]
    results = Counter[tuple[str, bool, bool]]()
    for row in usable:
        calls = row.outputs[0]
        results["as published", check_ours([write_answer(calls)], calls), check_theirs(row, calls)] += 1
    per_rule = -(-num_changed // len(RULES))
    for rule in RULES:
        shuffled = draw.sample(usable, len(usable))
        changed = ((row, calls) for row in shuffled if (calls := change(rule, row, draw)) is not None)
        for row, calls in itertools.islice(changed, per_rule):
            outputs = list(map(write_answer, row.outputs))
            results[rule, check_ours(outputs, calls), check_theirs(row, calls)] += 1
    return counts, dict(results)


def main() -> None:
    """Print a line for each rule: answers, agreement, and which check accepts the others."""
    counts, results = compare_checks(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    print(", ".join(f"{name}: {num:,}" for name, num in counts.items()))
    for rule in ("as published", *RULES):
        cells = {pair: results.get((rule, *pair), 0) for pair in itertools.product((True, False), repeat=2)}
        total, agreed = sum(cells.values()), cells[True, True] + cells[False, False]
        print(
            f"{rule:24} {total:5,} answers, {agreed:5,} agreed ({cells[True, True]:,} right, {cells[False, False]:,} "
            f"wrong), right only here {cells[True, False]}, only there {cells[False, True]}"
        )


if __name__ == "__main__":
    main()
