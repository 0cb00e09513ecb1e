"""Compare the check of calls, and plays, with bfcl-eval's checker of conversations (Apache-2.0) on its four sets.

    pip install --no-deps --target FOLDER bfcl-eval==2026.3.23
    python bench/bfcl.py FOLDER [NUM]     NUM answers are broken by rule (2,160, if each rule fits enough)

A conversation is right for the metric `calls` if every turn has the right calls, for the package if after every turn
the state of its objects and the results are right, and for a play if the state at the end is right.
"""

import ast
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from etude.data.formats.tools import format_tool_turn, format_tools, get_defaults
from etude.metrics import Metric
from etude.task.tool_class import ToolError, ToolLimits, ToolRef, ToolSession
from etude.types import Answer, Example, Message

SETS = ("base", "miss_func", "miss_param", "long_context")
TYPES = {"dict": "object", "float": "number", "tuple": "array"}  # the package's names of types
DESK = """
import copy, functools, importlib, inspect, json
from bfcl_eval.constants.executable_backend_config import CLASS_FILE_PATH_MAPPING as FILES
NAMES = [name for name in FILES if not name.startswith(("Web", "Memory"))]
CLASSES = {name: getattr(importlib.import_module(FILES[name]), name) for name in NAMES}

class Desk:
    def __init__(self, row):
        entry = json.loads(row.tags["entry"])
        self._objects, self._owners = [], {}
        for name in entry["involved_classes"]:
            self._objects.append(CLASSES[name]())
            if name != "MathAPI":
                is_long = "long_context" in entry["id"]
                self._objects[-1]._load_scenario(copy.deepcopy(entry["initial_config"].get(name, {})), is_long)
            self._owners |= dict(inspect.getmembers(self._objects[-1], inspect.ismethod))

def forward(name, method):
    return functools.wraps(method)(lambda self, *values, **named: self._owners[name](*values, **named))

for cls in CLASSES.values():
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_"):
            setattr(Desk, name, forward(name, method))

def finished(desk, row):
    right = Desk(row)
    for name, arguments in json.loads(row.tags["calls"]):
        try:
            right._owners[name](**arguments)
        except Exception:
            pass
    states = [[{key: value for key, value in vars(item).items() if key[0] != "_"} for item in each._objects]
              for each in (desk, right)]
    return states[0] == states[1]
"""
NUMBERS = count()
RULES = (
    *("a call is left out", "a call is made twice", "another call is made, too", "another value", "another order"),
    *("another function", "a call comes a turn later", "a default is written out", "a default is left out"),
)
Call = tuple[str, dict[str, Any]]
Turns = list[list[Call]]


def main() -> None:
    """Print the agreement on right answers, on schemas and results, and on broken answers by rule."""
    folder, num = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 2_160
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    data, functions = folder / "bfcl_eval" / "data", {}
    files = sorted((data / "multi_turn_func_doc").glob("*.json"))
    for file in [file for file in files if not file.stem.startswith(("memory", "web"))]:
        functions |= {line["name"]: line for line in map(json.loads, file.read_text("utf-8").splitlines())}
    conversations = list(read_conversations(data, functions))
    desk = Path(tempfile.mkdtemp()) / "desk.py"
    desk.write_text(DESK, encoding="utf-8")
    ref = ToolRef(desk, "Desk")
    compare_schemas(ref, functions)
    session = ToolSession(ref, limits=ToolLimits(20, 10**8))
    check = partial(check_all, session, get_defaults(format_tools([*functions.values()])))
    right = [check(entry, turns, turns) for entry, turns in conversations]
    print("right answers:", {name: sum(checks[name] for checks in right) for name in right[0]}, "of", len(right))
    print("results of their calls:", sum((compare_results(session, *pair) for pair in conversations), Counter()))
    print("| rule | answers | calls, package, play: number right | calls = package | differences |")
    rng, totals = random.Random(0), Counter[str]()
    pool = [call for _, turns in conversations for turn in turns for call in turn]
    for number, rule in enumerate(RULES):
        share, rows = (num + number) // len(RULES), []
        for entry, turns in rng.choices(conversations, k=20 * share):
            broken = [list(turn) for turn in turns]
            break_answer(rule, broken, rng, functions, pool)
            if len(rows) < share and broken != turns:
                checks = check(entry, broken, turns)
                rows.append((checks, "" if checks["calls"] == checks["package"] else explain(checks, broken, turns)))
        counts = [sum(checks[key] for checks, _ in rows) for key in ("calls", "package", "play")]
        reasons = Counter(reason for _, reason in rows if reason)
        totals += Counter({"answers": len(rows), "agree": len(rows) - reasons.total()}) + reasons
        print(f"| {rule} | {len(rows)} | {counts} | {len(rows) - reasons.total()} | {dict(reasons)} |", flush=True)
    print(dict(totals))


def read_conversations(data: Path, functions: dict[str, Any]) -> Iterator[tuple[Any, Turns]]:
    """Yield each conversation with the right calls of its turns, all arguments by name."""
    for name in SETS:
        file = f"BFCL_v4_multi_turn_{name}.json"
        entries, answers = (
            [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            for path in (data / file, data / "possible_answer" / file)
        )
        for entry, answer in zip(entries, answers, strict=True):
            turns = [[parse_call(call, functions) for call in turn] for turn in answer["ground_truth"]]
            yield entry, turns


def parse_call(text: str, functions: dict[str, Any]) -> Call:
    """Read a call in Python, such as `cd(folder="a")`."""
    call: Any = ast.parse(text, mode="eval").body
    names = functions[call.func.id]["parameters"]["properties"]
    values = dict(zip(names, call.args, strict=False)) | {one.arg: one.value for one in call.keywords}
    return call.func.id, {name: ast.literal_eval(value) for name, value in values.items()}


def to_python(call: Call) -> str:
    return f"{call[0]}({', '.join(f'{name}={value!r}' for name, value in call[1].items())})"


def compare_schemas(ref: ToolRef, functions: dict[str, Any]) -> None:
    """Print how many schemas from signatures have the names, types and defaults of the package's documents."""
    counts, ours = Counter[str](), {function["name"]: function["parameters"] for function in ref.describe().functions}
    for name, function in functions.items():
        documented, own = function["parameters"], ours.get(name, {"properties": {}, "required": []})
        counts += Counter({"functions": 1, "in both": name in ours})
        is_same = list(documented["properties"]) == list(own["properties"])
        counts["the same names"] += is_same
        if not is_same:
            print(f"  {name}: {list(documented['properties'])}; from the signature {list(own['properties'])}")
        counts["the same required"] += sorted(documented["required"]) == sorted(own["required"])
        for key, schema in documented["properties"].items():
            other = own["properties"].get(key, {})
            is_same_type = TYPES.get(schema["type"], schema["type"]) == other.get("type")
            is_same_default = schema.get("default") in (other.get("default"), "None", str(other.get("default")))
            counts += Counter({"arguments": 1, "the same type": is_same_type, "the same default": is_same_default})
            if not (is_same_type and is_same_default):
                print(f"  {name}.{key}: {schema['type']}, {schema.get('default')!r}; from the signature {other}")
    print("schemas:", dict(counts), "only in the class:", sorted(ours.keys() - functions.keys()))


def make_row(entry: Any, turns: Turns) -> Example:
    calls = [call for turn in turns for call in turn]
    tags = {"entry": json.dumps(entry), "calls": json.dumps(calls)}
    return Example(entry["id"], (Message("user", "?"),), "", tags=tags)


def check_all(session: ToolSession, defaults: Any, entry: Any, answered: Turns, right: Turns) -> dict[str, bool]:
    """Check one conversation in all three ways."""
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker

    texts = [[format_calls(turn) for turn in turns] for turns in (right, answered)]
    metric, scores = Metric("calls", "answer"), []
    for output, text in zip(*texts, strict=True):
        row = Example(entry["id"], (Message("user", "?"),), output, defaults=defaults)
        answer = Answer("", text, text, None, (), None, 0, 0, 0, 0.0, truncated=False)
        scores.append(metric.score_headline(row, answer).value)
    outputs, truth = ([[to_python(call) for call in turn] for turn in turns] for turns in (answered, right))
    steps = [[turn] if turn else [] for turn in outputs]
    name = f"model{next(NUMBERS)}"  # the package keeps the objects of a name
    verdict = multi_turn_checker(steps, truth, entry, "", name)
    session.begin(make_row(entry, right))
    run_calls(session, answered)
    is_done = session.finish() == 1
    if any(call[0] == "mention" for turn in answered for call in turn):
        session.close()  # it appends to a default list of post_tweet, which later objects of the process share
    return {"calls": min(scores) == 1, "package": verdict["valid"], "play": is_done}


def format_calls(calls: list[Call]) -> str:
    listed = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return format_tool_turn({"role": "assistant", "tool_calls": listed}, None) if listed else "I cannot do that."


def run_calls(session: ToolSession, turns: Turns) -> list[str]:
    """Return the results; an error as the package writes it."""
    results = []
    for name, arguments in (call for turn in turns for call in turn):
        try:
            results.append(session.call(name, arguments))
        except ToolError as error:
            results.append(f"Error during execution: {str(error).partition(': ')[2]}")
    return results


def compare_results(session: ToolSession, entry: Any, turns: Turns) -> Counter[str]:
    """Count the calls of a conversation whose results are those of the package's executor."""
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils import execute_multi_turn_func_call

    calls = [to_python(call) for turn in turns for call in turn]
    settings = entry["initial_config"], entry["involved_classes"], f"run{next(NUMBERS)}", entry["id"]
    theirs, _ = execute_multi_turn_func_call(calls, *settings, long_context="long_context" in entry["id"])
    session.begin(make_row(entry, turns))
    pairs = [(one, other) for one, other in zip(run_calls(session, turns), theirs, strict=True)]
    return Counter("the same" if one == other else classify_results(one, other) for one, other in pairs)


def classify_results(one: str, other: str) -> str:
    """Name how two results differ."""
    if "mpf(" in other or "Ellipsis" in other:
        return "values that are not JSON, as text"
    values = []
    for text in (one, other):
        for read in (json.loads, ast.literal_eval, str):
            try:
                values.append(read(text))
                break
            except (ValueError, SyntaxError):
                continue
    if all(isinstance(value, list) for value in values) and sorted(values[0]) == sorted(values[1]):
        return "a set in another order"
    return "the same value, written differently" if values[0] == values[1] else f"{one[:99]} / {other[:99]}"


def break_answer(rule: str, turns: Turns, rng: random.Random, functions: dict[str, Any], pool: list[Call]) -> None:
    """Change one call by a rule; nothing if the rule does not fit the call."""
    number = rng.choice([number for number, turn in enumerate(turns) if turn])
    turn, calls = turns[number], rng.choices(pool, k=99)
    place = rng.randrange(len(turn))
    name, arguments = turn[place]
    schemas = functions[name]["parameters"]["properties"]
    defaults = {key: schema["default"] for key, schema in schemas.items() if "default" in schema}
    if rule == "a call is left out":
        del turn[place]
    elif rule == "a call is made twice":
        turn.insert(place, turn[place])
    elif rule == "another call is made, too":
        names = {name for own in turns for name, _ in own}
        turn[place:place] = [call for call in calls if call[0] in names and call not in turn][:1]
    elif rule == "another value":
        pairs = [pair for other, given in calls if other == name for pair in given.items()]
        turn[place] = (name, arguments | dict([(key, new) for key, new in pairs if arguments.get(key, new) != new][:1]))
    elif rule == "another order" and place:
        turn[place - 1 : place + 1] = [turn[place], turn[place - 1]]
    elif rule == "another function":
        tool = functions[name]["description"].partition("Tool description")[0]
        others = [other for other, one in functions.items() if other != name and one["description"].startswith(tool)]
        turn[place] = (rng.choice(others), arguments)
    elif rule == "a call comes a turn later" and any(turns[number + 1 :]):
        next(later for later in turns[number + 1 :] if later).insert(0, turn.pop(place))
    elif rule == "a default is written out":
        turn[place] = (name, defaults | arguments)
    elif rule == "a default is left out":
        turn[place] = (name, {key: value for key, value in arguments.items() if defaults.get(key, NUMBERS) != value})


def explain(checks: dict[str, bool], answered: Turns, right: Turns) -> str:
    """Name the class of a difference."""
    if checks["calls"]:
        made, asked = (Counter(str(call) for turn in turns for call in turn) for turns in (answered, right))
        changed = "".join((made - asked).keys()).partition(",")[0].strip("('")
        return f"a default of {changed} written out, another result" if changed else "another order, another result"
    made, asked = ([json.dumps(call) for turn in turns for call in turn] for turns in (answered, right))
    if not Counter(asked) - Counter(made):
        return "more calls, same state" if len(made) > len(asked) else "the same calls in another turn"
    return "other calls, same state and results"


if __name__ == "__main__":
    main()
