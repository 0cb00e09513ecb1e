"""Recompute every number of a run from its answers: a second implementation that imports nothing of Étude.

    python bench/rescore.py RUN_FOLDER [--check-file PATH]

Reads the answers in methods/*/predictions.jsonl and, for every candidate on dev, in methods/*/tried.jsonl.
Scores them, repeats the choices on dev, and recomputes verdict.json and the power in run.json. Prints

    what | stored | recomputed | difference | allowed | ok

and exits with 1 if a line disagrees. Groups of numbers share one line, with their largest difference.

What is allowed:

* Counts, names and statuses: nothing; scores: 1e-9.
* Closed forms (Wilson, Newcombe, moments, exact p, costs): 1e-9, for costs relative.
* Resampled numbers: the stored number comes from one bootstrap of 2,000 resamples. The same number is computed
  here in BATCHES bootstraps of that size with other seeds. Their mean is the recomputed number, and their
  spread s is the Monte Carlo error of one such number. So the stored one lies within
  t s sqrt(1 + 1 / BATCHES) of the mean, where t is Student's quantile, except once in 1 / RARE comparisons.
  A p from 4,095 random patterns is compared with the binomial quantiles of the same level. A status that
  depends on a resampled bound may differ if the threshold lies within that bound's allowance.

If the metric is a mean, the moments have a closed form, the limit of infinitely many resamples, and only the
critical value of all pairs is resampled. Such bounds are checked twice: in closed form (of a pair at the stored
critical value) to 1e-9, and by resampling.

Not checked: intervals of calibration errors and of single fields; the learning curve and the judge; what depends on
training rows, which are not in the run folder (the metric, the split); what was measured while it ran (times, tokens,
losses), except means and differences of it; sentences and reports, which print the numbers of verdict.json
(`tests/test_report.py`).
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import jsonschema
import numpy as np
import yaml
from sacrebleu.metrics import CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from scipy import stats

BATCHES = 25
RESAMPLES = 2000
PATTERNS = 4095
RARE = 1e-4
CLOSED = 1e-9
GRADED = ("chrf", "token_f1", "sari")
EQUAL = 1e-6  # up to here scores count as equal, and a standard error as none
DIGITS = (
    12  # what is compared on dev is rounded to so many digits: one row more is exactly one error of one row
)
SEED = 7_654_321
Z = float(stats.norm.ppf(0.975))
Z_POWER = 0.84
FEWEST_ROWS = 150
MOST_ROWS = 100_000

Json = dict[str, Any]
Number = float | int | None


# The table


@dataclass(frozen=True)
class Line:
    """One comparison of a stored value with a recomputed one."""

    what: str
    stored: Any
    again: Any
    allowed: float = 0.0

    @property
    def difference(self) -> float | None:
        """Absolute difference of two numbers; None for anything else."""
        if isinstance(self.stored, int | float) and isinstance(self.again, int | float):
            return abs(self.stored - self.again)
        return None

    @property
    def ok(self) -> bool:
        """Whether both are equal, numbers within what is allowed."""
        gap = self.difference
        return self.stored == self.again if gap is None else gap <= self.allowed

    def cells(self) -> tuple[str, ...]:
        """The line as it is printed."""
        gap = self.difference
        shown = "" if gap is None else f"{gap:.3g}"
        return (
            self.what,
            brief(self.stored),
            brief(self.again),
            shown,
            f"{self.allowed:.3g}",
            "yes" if self.ok else "NO",
        )


def brief(value: Any) -> str:
    """A value in at most 40 characters."""
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def largest(what: str, stored: Sequence[float], again: Sequence[float], allowed: float = CLOSED) -> Line:
    """Many numbers as one line: the pair that differs most; a line on the count when that differs."""
    if len(stored) != len(again):
        return Line(f"{what}: how many", len(stored), len(again))
    if not stored:
        return Line(f"{what}: none", 0, 0)
    worst = max(range(len(stored)), key=lambda i: abs(stored[i] - again[i]))
    return Line(f"{what} ({len(stored)} numbers)", stored[worst], again[worst], allowed)


def print_table(lines: Sequence[Line]) -> None:
    """The lines as a Markdown table, and how many do not agree."""
    print("| what | stored | recomputed | difference | allowed | ok |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for line in lines:
        print("| " + " | ".join(line.cells()) + " |")
    wrong = [line.what for line in lines if not line.ok]
    print(f"\n{len(lines)} comparisons, {len(wrong)} do not agree" + "".join(f"\n- {what}" for what in wrong))


# The run folder


@dataclass(frozen=True)
class Method:
    """One method's folder: method.json, the lines of both sides and of each candidate on dev by row id."""

    name: str
    info: Json
    sides: Mapping[str, Mapping[str, Json]]
    tried: Mapping[str, Mapping[str, Json]]

    @property
    def tuned(self) -> bool:
        """Whether the method changes weights."""
        return bool(self.info["tuned"])


@dataclass(frozen=True)
class Run:
    """A run folder as it was read."""

    folder: Path
    info: Json
    task: Json
    verdict: Json
    methods: tuple[Method, ...]

    @property
    def metric(self) -> str:
        """Name of the headline metric."""
        return str(self.info["metric"]["name"])

    @property
    def cut(self) -> set[str]:
        """Tuned methods that a budget or `max_rows` left with a part of their training."""
        whole = self.verdict["train_rows"]
        seen = {step["method"]: step["learned"] for step in self.verdict["ladder"]}
        epochs = {m.name: (m.info["params"].get("reasons") or {}).get("epochs") for m in self.methods}
        return {
            m.name
            for m in self.methods
            if m.tuned and ((seen[m.name] or whole) < whole or epochs[m.name] == "cut to fit the budget")
        }

    @property
    def copies(self) -> set[str]:
        """Methods without a language model, where nothing checks what an answer says: none may be recommended."""
        unchecked = self.info["metric"]["form_only"]
        return {m.name for m in self.methods if unchecked and m.info["model"] == "classical"}

    def dev(self, names: Iterable[str]) -> dict[str, list[Json]]:
        """The lines of some methods on the dev rows that all of them have answered."""
        wanted = set(names)
        sides = {m.name: m.sides["dev"] for m in self.methods if m.name in wanted}
        common = set.intersection(*(set(lines) for lines in sides.values())) if sides else set()
        return {name: in_order({key: lines[key] for key in common}) for name, lines in sides.items()}

    @cached_property
    def rows(self) -> dict[str, list[Json]]:
        """The lines of each method on the test, in the order of the ids."""
        return {m.name: in_order(m.sides["test"]) for m in self.methods}


def in_order(lines: Mapping[str, Json]) -> list[Json]:
    """Lines by id, so that all methods' rows stand in the same order."""
    return [lines[key] for key in sorted(lines)]


class TaskLoader(yaml.SafeLoader):
    """YAML in which only true and false are no texts: yes and no are common labels."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in found if first in "tTfF" or not tag.endswith(":bool")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_json(path: Path) -> Json:
    """A JSON file of an object."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def read_lines(path: Path) -> list[Json]:
    """A file of one JSON object a line."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_method(folder: Path) -> Method:
    """method.json, predictions.jsonl and tried.jsonl; of a row answered twice the later line."""
    sides: dict[str, dict[str, Json]] = {"dev": {}, "test": {}}
    for line in read_lines(folder / "predictions.jsonl"):
        sides[line["side"]][line["id"]] = line
    tried: dict[str, dict[str, Json]] = {}
    for line in read_lines(folder / "tried.jsonl"):
        tried.setdefault(line.pop("candidate"), {})[line["id"]] = line
    return Method(folder.name, read_json(folder / "method.json"), sides, tried)


def read_run(folder: Path) -> Run:
    """All that is checked; methods in the order of the verdict's ladder."""
    if not (folder / "verdict.json").exists():
        raise SystemExit(f"{folder}: no verdict.json; name the folder of a complete run")
    verdict = read_json(folder / "verdict.json")
    names = [step["method"] for step in verdict["ladder"]]
    return Run(
        folder,
        read_json(folder / "run.json"),
        yaml.load((folder / "task.yaml").read_text(encoding="utf-8"), Loader=TaskLoader),
        verdict,
        tuple(read_method(folder / "methods" / name) for name in names),
    )


# The contract


def plain(text: str) -> str:
    """A text without case, width of characters and runs of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def json_value(text: str) -> Any:
    """The JSON value of a text; ValueError for anything a strict reader refuses."""
    try:
        return json.loads(text.strip(), parse_constant=refuse, parse_float=finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def finite(text: str) -> float:
    """A number that a float holds."""
    return float(text) if math.isfinite(float(text)) else refuse(text)


def refuse(name: str) -> Any:
    """NaN and Infinity are no JSON."""
    raise ValueError(name)


def kinds(contract: Mapping[str, Any], answer: str) -> list[str]:
    """The kinds in which an answer breaks a contract, each once: first those of its form, in the order of
    the text, then those of its words."""
    text = answer.strip()
    if not text:
        return ["empty answer"]
    return list(dict.fromkeys([*form_kinds(contract, text), *word_kinds(contract, text)]))


def form_kinds(contract: Mapping[str, Any], text: str) -> Iterator[str]:
    """What labels, schema and fields find wrong."""
    labels, fields = listed(contract.get("labels")), listed(contract.get("fields"))
    if labels and label_of(labels, text) is None:
        yield "not a label"
    if contract.get("json_schema") is not None:
        yield from schema_kinds(contract["json_schema"], text)
    if fields:
        yield from field_kinds(fields, text)


def word_kinds(contract: Mapping[str, Any], text: str) -> Iterator[str]:
    """What can be wrong with an answer of any form."""
    wanted, banned = listed(contract.get("must_contain")), listed(contract.get("must_not_contain"))
    regex, most = contract.get("regex"), contract.get("max_words")
    if regex is not None and re.fullmatch(regex, text) is None:
        yield "does not match the regular expression"
    if most is not None and len(text.split()) > most:
        yield f"over {most} words"
    yield from (f"must contain: {part}" for part in wanted if part.casefold() not in text.casefold())
    yield from (f"must not contain: {part}" for part in banned if part.casefold() in text.casefold())


def listed(part: Any) -> list[str]:
    """The texts of a part of the contract, of which there may be one or none."""
    return [str(text) for text in (part if isinstance(part, list) else [] if part is None else [part])]


def label_of(labels: Sequence[str], text: str) -> str | None:
    """The label a text is: as written, else without case, marks around it and a final stop."""
    if text.strip() in labels:
        return text.strip()
    found = [label for label in labels if bare(label) == bare(text)]
    return found[0] if len(found) == 1 else None


def bare(text: str) -> str:
    """A text without case, white space, quotes, asterisks and closing punctuation around it."""
    marks = " \t\r\n\"'`´’‘“”„»«*"
    return text.rstrip(marks + ".,;:!?").lstrip(marks).casefold()


def schema_kinds(schema: Mapping[str, Any], text: str) -> list[str]:
    """How a text fails to be JSON of a schema's shape, sorted; list positions are left open."""
    try:
        value = json_value(text)
    except ValueError:
        return ["not JSON"]
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)
    try:
        return sorted({kind for error in validator.iter_errors(value) for kind in error_kinds(error)})
    except RecursionError:
        return ["schema: nested too deep"]


def error_kinds(error: jsonschema.ValidationError) -> list[str]:
    """The kinds of one failure: of a missing key its place, else what the schema asks of the place."""
    place = place_of(error.path) or "the value"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return [f"schema: missing key: {place_of([*error.path, key])}" for key in missing]
    said = {
        "additionalProperties": f"unknown key in {place}",
        "unevaluatedProperties": f"unknown key in {place}",
        "type": f"{place} is not of type {error.validator_value}",
        "enum": f"{place} is not an allowed value",
        "const": f"{place} is not an allowed value",
    }
    return ["schema: " + said.get(str(error.validator), f"{place} breaks {error.validator}")]


def place_of(path: Iterable[str | int]) -> str:
    """A place in a JSON value as orders[].price."""
    text = "".join("[]" if isinstance(part, int) else "." + part for part in path)
    return text.removeprefix(".")


def field_kinds(fields: Sequence[str], text: str) -> Iterator[str]:
    """How a text fails to be the fields, once each and in order, none empty and nothing around them."""
    names = {name.removesuffix("?").strip(): not name.endswith("?") for name in fields}
    told: dict[str, list[str]] = {}
    key = ""
    for line in text.splitlines():
        head, _, rest = (part.strip() for part in line.partition(":"))
        if head in names:
            key = head
            if key in told:
                yield f"field twice: {key}"
            told[key] = [rest]
        elif not line.strip():
            key = ""
        elif key:
            told[key].append(line)
        else:
            yield "text outside the fields"
    yield from (f"missing field: {name}" for name, needed in names.items() if needed and name not in told)
    yield from (f"empty field: {name}" for name, lines in told.items() if not "".join(lines).strip())
    if list(told) != [name for name in names if name in told]:
        yield "fields out of order"


# Scores of single answers


def same_json(first: Any, second: Any) -> bool:
    """Equality of JSON values: key order does not matter, 1 is 1.0, and true is not 1."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same_json(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_json, first, second))
    return bool(first == second)


def exact_match(answer: str, wanted: Sequence[str]) -> float:
    """1 when the answer equals a right output, as JSON where both are JSON, else as plain text."""
    return float(any(equal(answer, output) for output in wanted))


def equal(answer: str, output: str) -> bool:
    """Whether two outputs say the same."""
    values = []
    for text in (answer, output):
        try:
            values.append(json_value(text))
        except ValueError:
            continue
    if len(values) == 2:
        return same_json(*values)
    return not values and plain(answer) == plain(output)


def calls(answer: str, wanted: Sequence[str]) -> float:
    """1 when an answer calls the functions that a right output calls, or none like it; none of its calls is broken."""
    found, broken = calls_of(answer)
    return float(not broken and any(same_json(found, calls_of(output)[0]) for output in wanted))


def calls_of(text: str) -> tuple[list[Any], int]:
    """Name and arguments of each function that an answer calls, and how many calls cannot be read."""
    found, broken = [], 0
    for part in text.split("<tool_call>")[1:]:
        inner, end, _ = part.partition("</tool_call>")
        try:
            call = json_value(inner if end else "")
            call = call.get("function", call)
            given = call.get("arguments", call.get("parameters", {}))
            given = json_value(given or "{}") if isinstance(given, str) else given
            if not call.get("name") or not isinstance(given, dict):
                raise ValueError("no call")
        except (ValueError, AttributeError):
            broken += 1
            continue
        found.append([str(call["name"]), given])
    return found, broken


def chrf(answer: str, wanted: Sequence[str]) -> float:
    """chrF2 against the likest right output, 0 to 1."""
    return max(CHRF().sentence_score(answer, [output]).score for output in wanted) / 100


def chrf_of_start(answer: str, wanted: Sequence[str]) -> float:
    """chrF as it stands beside another headline: of the first 5,000 characters."""
    return chrf(answer[:5_000], [output[:5_000] for output in wanted])


def squad_f1(answer: str, output: str) -> float:
    """F1 of words as SQuAD's evaluation script counts it."""

    def words(text: str) -> list[str]:
        plain = "".join(character for character in text.lower() if character not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", plain).split()

    given, told = words(answer), words(output)
    if not (given and told):
        return float(given == told)
    left = list(told)
    same = 0
    for word in given:
        if word in left:
            left.remove(word)
            same += 1
    precision, recall = same / len(given), same / len(told)
    return 2 * precision * recall / (precision + recall) if same else 0.0


def sari(source: str, answer: str, references: Sequence[str]) -> float:
    """SARI after the script of its authors (SARI.py of cocoxu/simplification), with the recall of kept n-grams and the
    empty cases as Hugging Face's `evaluate` has them."""
    tokenized = [Tokenizer13a()(text.lower()).split(" ") for text in (source, answer, *references)]
    tokenized = [[word for word in words if word] for words in tokenized]
    keeps, deletes, adds = zip(*(sari_parts(n, *tokenized) for n in (1, 2, 3, 4)), strict=True)
    return (sum(keeps) / 4 + sum(deletes) / 4 + sum(adds) / 4) / 3


def sari_parts(
    n: int, source: list[str], answer: list[str], *references: list[str]
) -> tuple[float, float, float]:
    """Scores of what was kept, deleted and added, of n-grams of one length."""

    def grams(words: list[str]) -> list[tuple[str, ...]]:
        return list(zip(*(words[shift:] for shift in range(n)), strict=False))

    told = Counter(gram for words in references for gram in grams(words))
    before, after = Counter(grams(source)), Counter(grams(answer))
    times = len(references)
    keep_all, keep_good, keep_precision, kept = 0, 0, 0.0, 0
    gone, gone_precision = 0, 0.0
    for gram, number in before.items():
        old, new = times * number, times * after[gram]
        keep_all += min(old, told[gram])
        if new:
            good = min(old, new, told[gram])
            kept, keep_good, keep_precision = (
                kept + 1,
                keep_good + good,
                keep_precision + good / min(old, new),
            )
        if old > new:
            gone, gone_precision = gone + 1, gone_precision + max(0, old - new - told[gram]) / (old - new)
    precision = keep_precision / kept if kept else 1.0
    recall = keep_good / keep_all if keep_all else 1.0
    keep = 2 * precision * recall / (precision + recall) if precision or recall else 0.0
    new_grams, told_grams = set(after) - set(before), set(told) - set(before)
    hits = len(new_grams & set(told))
    precision = hits / len(new_grams) if new_grams else 1.0
    recall = hits / len(told_grams) if told_grams else 1.0
    add = 2 * precision * recall / (precision + recall) if precision or recall else 0.0
    return keep, gone_precision / gone if gone else 1.0, add


def right_fields(answer: str, wanted: Sequence[str]) -> float:
    """Of the JSON fields wanted or given the share given as wanted; other outputs are one field each."""
    return max(shared_fields(answer, output) for output in wanted)


def shared_fields(answer: str, output: str) -> float:
    """`right_fields` against one right output."""
    given, told = (object_of(text) for text in (answer, output))
    if given is None or told is None:
        return float(given is told and equal(answer, output))
    right = [key for key in told if key in given and same_json(told[key], given[key])]
    return len(right) / len({*told, *given}) if told or given else 1.0


def object_of(text: str) -> Json | None:
    """The JSON object of a text, if it is one."""
    try:
        value = json_value(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def predicted(contract: Mapping[str, Any], answer: str) -> str:
    """The label an answer gives, else its whole text."""
    return label_of(listed(contract.get("labels")), answer) or answer.strip()


@dataclass(frozen=True)
class Scorer:
    """Scores the answers of one task."""

    metric: str
    contract: Mapping[str, Any]
    check: Callable[[Any, str], Any] | None

    def line(self, row: Json) -> Json:
        """`score`, `form`, `failures`, `check` and `others` of one line of predictions.jsonl."""
        answer, wanted = row["answer"], [row["expected"], *row["references"]]
        failures = kinds(self.contract, answer) if self.contract else []
        form = not failures if self.contract else None
        checked = None if self.check is None else float(self.check(example_of(row), answer))
        known = {
            "passes": lambda: 0.0 if form is False else 1.0 if checked is None else checked,
            "exact_match": lambda: exact_match(answer, wanted),
            "chrf": lambda: chrf(answer, wanted),
            "calls": lambda: calls(answer, wanted),
            "token_f1": lambda: max(squad_f1(answer, output) for output in wanted),
            "sari": lambda: sari(row["input"], answer, wanted),
            "accuracy": lambda: float(predicted(self.contract, answer) in [text.strip() for text in wanted]),
        }
        known["macro_f1"] = known["accuracy"]
        beside = known | {
            "chrf": lambda: chrf_of_start(answer, wanted),
            "right_fields": lambda: right_fields(answer, wanted),
        }
        others = {name: beside[name]() for name in row["others"]}
        scored = {"score": known[self.metric](), "check": checked, "others": others}
        return scored | {"form": form, "failures": failures}


def contract_of(run: Run) -> Json:
    """The task's contract; for classify without labels, with those that were read off the training rows."""
    contract = dict(run.task.get("contract") or {})
    if run.task["kind"] == "classify" and not contract.get("labels"):
        assistant = read_json(run.folder / "methods" / run.methods[0].name / "assistant" / "assistant.json")
        contract["labels"] = assistant["contract"]["labels"]
    return contract


def example_of(row: Json) -> SimpleNamespace:
    """What a check function is handed, as far as the run folder knows it."""
    return SimpleNamespace(
        id=row["id"],
        tags=row["tags"],
        text=row["input"],
        output=row["expected"],
        references=tuple(row["references"]),
        group=row["group"],
    )


def load_check(run: Run, path: Path | None) -> Callable[[Any, str], Any] | None:
    """The user's own check function; by default from the folder that holds runs/."""
    named = run.task.get("check")
    if not named:
        return None
    file, _, function = str(named).rpartition(":")
    path = path or run.folder.resolve().parents[1] / file
    if not path.exists():
        raise SystemExit(f"{path}: no such file; name it with --check-file")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("rescored_check", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, function)  # type: ignore[no-any-return]


def scores(run: Run, scorer: Scorer) -> Iterator[Line]:
    """How many rows of each method have the stored score, form, failures, check and further metrics."""
    for method in run.methods:
        rows = [*method.sides["dev"].values(), *method.sides["test"].values()]
        yield from score_lines(method.name, rows, scorer)
        tried = [row for lines in method.tried.values() for row in lines.values()]
        yield from score_lines(f"{method.name}, candidates", tried, scorer)


def alike(stored: Any, again: Any) -> bool:
    """Whether two scores, or scores by name, are the same up to the rounding of sums."""
    if isinstance(stored, dict):
        return stored.keys() == again.keys() and all(alike(stored[name], again[name]) for name in stored)
    if isinstance(stored, float) and isinstance(again, float):
        return abs(stored - again) <= CLOSED
    return bool(stored == again)


def score_lines(what: str, rows: Sequence[Json], scorer: Scorer) -> Iterator[Line]:
    """How many rows are scored as they were, key by key."""
    again = [scorer.line(row) for row in rows]
    for key in ("score", "form", "failures", "check", "others"):
        differ = [row["id"] for row, new in zip(rows, again, strict=True) if not alike(row[key], new[key])]
        named = f", first {differ[0]}" if differ else ""
        yield Line(f"{what}: rows with the same {key}{named}", len(rows), len(rows) - len(differ))


# Samples, resampled by units


@dataclass(frozen=True)
class Sample:
    """One method on some rows as sums per unit.

    `sums` is (G, 2): score and rows; or, for macro-F1, (G, 3C): rows right, given and wanted per label.
    """

    sums: np.ndarray
    names: tuple[str, ...]
    scores: np.ndarray
    macro: bool
    key: int

    @property
    def units(self) -> int:
        """How many units."""
        return len(self.names)

    @property
    def rows(self) -> int:
        """Rows."""
        return len(self.scores)

    @property
    def binary(self) -> bool:
        """Ungrouped and right or wrong."""
        return not self.macro and self.rows == self.units and bool(np.isin(self.scores, (0, 1)).all())

    @property
    def value(self) -> float:
        """The mean or macro-F1."""
        return float(self.of(self.sums.sum(axis=0)))

    def of(self, sums: np.ndarray) -> np.ndarray:
        """The aggregate of sums, (..., k) to (...); labels that no row wants do not count."""
        if not self.macro:
            return np.asarray(sums[..., 0] / sums[..., 1])
        right, given, wanted = np.split(sums, 3, axis=-1)
        f1 = 2 * right / np.maximum(given + wanted, 1e-300)
        return np.asarray((f1 * (wanted > 0)).sum(axis=-1) / (wanted > 0).sum(axis=-1))

    @property
    def pulls(self) -> np.ndarray:
        """What each unit adds to the error of the mean."""
        return np.asarray((self.sums[:, 0] - self.value * self.sums[:, 1]) / self.rows)

    def deviations(self, counts: np.ndarray) -> np.ndarray:
        """Resampled aggregates minus the value; a mean to first order in the weights."""
        weights = counts.astype(float)
        return np.asarray(self.of(weights @ self.sums) - self.value if self.macro else weights @ self.pulls)

    @cached_property
    def replicates(self) -> np.ndarray:
        """(BATCHES, RESAMPLES) deviations; the same resamples for all samples of as many units."""
        return np.stack([self.deviations(weights) for weights in resamples(self.units, self.key)])


@cache
def resamples(units: int, key: int) -> list[np.ndarray]:
    """BATCHES times the multinomial weights (RESAMPLES, units) of a bootstrap."""
    draws = []
    for batch in range(BATCHES):
        random = np.random.default_rng([SEED, key, batch])
        draws.append(random.multinomial(units, np.full(units, 1 / units), RESAMPLES).astype(np.uint8))
    return draws


def sample_of(rows: Sequence[Json], scorer: Scorer | None = None, key: int = 0) -> Sample:
    """Rows as a sample; a mean of scores without a scorer, macro-F1 with one."""
    names = tuple(sorted({row["unit"] for row in rows}))
    place = {name: i for i, name in enumerate(names)}
    units = np.array([place[row["unit"]] for row in rows])
    scores = np.array([row["score"] for row in rows], dtype=float)
    parts = np.column_stack([scores, np.ones(len(rows))]) if scorer is None else label_parts(rows, scorer)
    sums = np.zeros((len(names), parts.shape[1]))
    np.add.at(sums, units, parts)
    return Sample(sums, names, scores, scorer is not None, key)


def label_parts(rows: Sequence[Json], scorer: Scorer) -> np.ndarray:
    """(rows, 3C): right, given and wanted for each of the C labels that some row wants."""
    labels = sorted({row["expected"] for row in rows})
    wanted = np.array([[row["expected"] == label for label in labels] for row in rows])
    given = np.array([[label_given(row, scorer) == label for label in labels] for row in rows])
    return np.hstack([wanted & given, given, wanted]).astype(float)


def label_given(row: Json, scorer: Scorer) -> str:
    """The label of a row's answer; a further right label stands as the first one."""
    label = predicted(scorer.contract, row["answer"])
    return row["expected"] if label in [text.strip() for text in row["references"]] else label


def headline_sample(run: Run, scorer: Scorer, rows: Sequence[Json], key: int = 0) -> Sample:
    """Rows under the headline metric."""
    return sample_of(rows, scorer if run.metric == "macro_f1" else None, key)


@dataclass(frozen=True)
class Found:
    """A recomputed number: one value for each batch of resamples, or a single one."""

    values: np.ndarray

    @property
    def mean(self) -> float:
        """The recomputed number."""
        return float(self.values.mean())

    @property
    def allowed(self) -> float:
        """What one bootstrap more may differ from the mean; CLOSED where nothing is resampled."""
        num = self.values.size
        if num == 1:
            return CLOSED
        reach = float(stats.t.ppf(1 - RARE / 2, num - 1))
        return CLOSED + reach * float(self.values.std(ddof=1)) * math.sqrt(1 + 1 / num)

    def line(self, what: str, stored: Number) -> Line:
        """The comparison with a stored number."""
        return Line(what, stored, self.mean, self.allowed)


def student(units: int, z: Any = Z) -> Any:
    """Student's quantile for units - 1 at the level of the normal quantile z."""
    return stats.t.ppf(stats.norm.cdf(z), units - 1) if units > 1 else np.full_like(z, np.inf, dtype=float)


def wilson(share: Any, n: Any, z: Any = Z) -> tuple[Any, Any]:
    """Wilson's score interval (1927), n not necessarily whole."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def sample_variance(sample: Sample, resampled: bool) -> np.ndarray:
    """Squared standard error with G / (G - 1): (BATCHES,) where resampled, else (1,)."""
    if sample.units == 1:
        return np.zeros(1)
    spread = sample.replicates.var(axis=1) if resampled else np.array([(sample.pulls**2).sum()])
    return np.asarray(spread * sample.units / (sample.units - 1))


def estimate(sample: Sample, resampled: bool = False) -> tuple[Found, Found]:
    """Bounds of a sample's own 95% interval; macro-F1 is always `resampled`, a mean where asked for.

    Wilson for ungrouped right or wrong; else Wilson at the rows that would give the bootstrap's standard
    error, with Student's quantile; as many rows as units where no unit differs from another.
    """
    value = min(max(sample.value, 0.0), 1.0)
    if sample.binary:
        low, high = wilson(value, sample.rows)
        return Found(np.array([low])), Found(np.array([high]))
    variance = sample_variance(sample, resampled or sample.macro)
    nothing = variance <= EQUAL**2
    rows = np.where(nothing, sample.units, value * (1 - value) / np.where(nothing, 1, variance))
    if sample.units == 1:
        return Found(np.zeros(1)), Found(np.ones(1))
    low, high = wilson(value, np.maximum(rows, 1e-12), float(student(sample.units)))
    return Found(low), Found(high)


def estimate_lines(what: str, stored: Json | None, sample: Sample | None) -> Iterator[Line]:
    """Value, bounds and n of one estimate; a line on its absence where there is none."""
    if stored is None or sample is None:
        yield Line(f"{what}: present", stored is not None, sample is not None)
        return
    low, high = estimate(sample)
    yield Line(f"{what}: value", stored["value"], sample.value, CLOSED)
    yield low.line(f"{what}: low", stored["low"])
    yield high.line(f"{what}: high", stored["high"])
    yield Line(f"{what}: n", stored["n"], sample.units)


# Two methods on the same rows


def newcombe(right: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Newcombe 1998, Statistics in Medicine 17, 2635, method 10: paired shares right - other."""
    n = len(right)
    e, f = int((right * other).sum()), int((right * (1 - other)).sum())
    g = int(((1 - right) * other).sum())
    h = n - e - f - g
    (low1, up1), (low2, up2) = wilson((e + f) / n, n), wilson((e + g) / n, n)
    product = (e + f) * (g + h) * (e + g) * (f + h)
    cross = e * h - f * g
    cross = max(cross - n / 2, 0) if cross > 0 else cross
    phi = cross / math.sqrt(product) if product else 0.0
    below1, above1 = (e + f) / n - low1, up1 - (e + f) / n
    below2, above2 = (e + g) / n - low2, up2 - (e + g) / n
    down = math.sqrt(max(below1**2 - 2 * phi * below1 * above2 + above2**2, 0))
    up = math.sqrt(max(above1**2 - 2 * phi * above1 * below2 + below2**2, 0))
    return (f - g) / n - down, (f - g) / n + up


@dataclass(frozen=True)
class Difference:
    """a - b: its floored standard error and the skewness to each side, per batch where resampled."""

    value: float
    units: int
    error: np.ndarray
    tilt_up: np.ndarray
    tilt_down: np.ndarray

    def bounds(self, critical: Any) -> tuple[Found, Found]:
        """Ends of the interval, inside -1 to 1; x solves x² = critical² (error² + tilt x)."""
        if self.units == 1:
            return Found(-np.ones(1)), Found(np.ones(1))
        up, down = (root(critical, self.error, tilt) for tilt in (self.tilt_up, self.tilt_down))
        return (
            Found(np.atleast_1d(np.maximum(self.value - down, -1))),
            Found(np.atleast_1d(np.minimum(self.value + up, 1))),
        )


def root(critical: Any, error: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """The positive x with x² = critical² (error² + tilt x)."""
    half = critical**2 * tilt / 2
    return np.asarray(half + np.sqrt(half**2 + critical**2 * error**2))


def difference(a: Sample, b: Sample, resampled: bool = False) -> Difference:
    """Moments of a - b over units, with the floor of one unit's difference; `resampled` as in `estimate`.

    With e² the variance (G / (G - 1) included), m3 the third moment and L the largest difference of a unit
    as part of the mean (1 / G where none differs, and for macro-F1): the standard error is max(e, L), and
    the slopes of the variance are max(m3 / e², L³ / (e² + L²)) upwards and the same with -m3 downwards.
    """
    G = a.units
    if a.macro or resampled:
        deviations = a.replicates - b.replicates
        deviations = deviations - deviations.mean(axis=1, keepdims=True)
        second, third = (deviations**2).mean(axis=1), (deviations**3).mean(axis=1)
    else:
        pulls = a.pulls - b.pulls
        second, third = np.array([(pulls**2).sum()]), np.array([(pulls**3).sum()])
    squared = second * G / (G - 1) if G > 1 else second
    one = largest_unit(a, b)
    skew = np.divide(third, squared, out=np.zeros_like(squared), where=squared > 1e-20)
    least = one**3 / (squared + one**2)
    error = np.maximum(np.sqrt(squared), one)
    return Difference(a.value - b.value, G, error, np.maximum(skew, least), np.maximum(-skew, least))


def largest_unit(a: Sample, b: Sample) -> float:
    """L of `difference`."""
    if a.macro:
        return 1 / a.units
    largest_sum = float(np.abs(a.sums[:, 0] - b.sums[:, 0]).max())
    return largest_sum / a.rows if largest_sum * a.units > EQUAL * a.rows else 1 / a.units


def exact_flips(diffs: np.ndarray) -> float:
    """P(|sum of ± diffs| >= observed) for whole numbers, from the distribution of the sum."""
    sums = Counter({0: 1})
    for size in np.abs(diffs).astype(int):
        spread: Counter[int] = Counter()
        for total, ways in sums.items():
            spread[total + size] += ways
            spread[total - size] += ways
        sums = spread
    seen = abs(int(diffs.sum()))
    return sum(ways for total, ways in sums.items() if abs(total) >= seen) / sum(sums.values())


def flipped(a: Sample, b: Sample, signs: np.ndarray) -> np.ndarray:
    """|a - b| after swapping both within the units whose sign is -1; (P, G) to (P,)."""
    middle, half = (a.sums + b.sums).sum(axis=0) / 2, (a.sums - b.sums) / 2
    turned = signs @ half
    return np.asarray(np.abs(a.of(middle + turned) - b.of(middle - turned)))


def p_value(a: Sample, b: Sample) -> Found:
    """Two-sided p of "swapping both within any unit changes nothing"; resampled where it must be."""
    diffs = a.sums[:, 0] - b.sums[:, 0]
    if a.binary and b.binary:
        gains, losses = int((diffs > 0).sum()), int((diffs < 0).sum())
        return Found(np.array([stats.binomtest(gains, gains + losses).pvalue if gains + losses else 1.0]))
    if not a.macro and np.allclose(diffs, np.round(diffs), atol=1e-9):
        return Found(np.array([exact_flips(np.round(diffs))]))
    differ = np.flatnonzero((a.sums != b.sums).any(axis=1))
    signs = np.ones((1, a.units))
    seen = float(flipped(a, b, signs)[0]) - 1e-12
    if len(differ) <= 12:
        signs = np.ones((2 ** len(differ), a.units))
        signs[:, differ] = list(itertools.product((1, -1), repeat=len(differ)))
        return Found(np.array([float((flipped(a, b, signs) >= seen).mean())]))
    return Found(np.array([random_flips(a, b, seen, batch) for batch in range(BATCHES)]))


def random_flips(a: Sample, b: Sample, seen: float, batch: int) -> float:
    """p from as many random patterns as the stored one has, the observed one counted."""
    random = np.random.default_rng([SEED, 99, batch])
    signs = random.choice(np.array([-1.0, 1.0]), (PATTERNS, a.units))
    return float((1 + (flipped(a, b, signs) >= seen).sum()) / (PATTERNS + 1))


def p_line(found: Found, stored: float) -> Line:
    """p against p; a random one may lie anywhere between the binomial quantiles of the level RARE."""
    if found.values.size == 1:
        return relative("headline: p", stored, found.mean)
    true = min(found.mean + 5 * float(found.values.std()) / math.sqrt(BATCHES) + 1 / PATTERNS, 1.0)
    ends = stats.binom.ppf([RARE / 2, 1 - RARE / 2], PATTERNS, true)
    ends[0] = stats.binom.ppf(RARE / 2, PATTERNS, max(2 * found.mean - true, 0))
    return Line(
        "headline: p", stored, found.mean, float(np.abs((ends + 1) / (PATTERNS + 1) - found.mean).max())
    )


# What was decided on dev


def choose(names: Sequence[str], samples: Sequence[Sample]) -> str | None:
    """The first (simplest) whose paired distance to the best is at most one standard error."""
    if not names:
        return None
    best = max(range(len(names)), key=lambda i: (round(samples[i].value, DIGITS), -i))
    for i in range(best):
        gap = difference(samples[best], samples[i])
        if round(gap.value - float(gap.error.mean()), DIGITS) <= 0:
            return names[i]
    return names[best]


def dev_lines(run: Run, scorer: Scorer) -> Iterator[Line]:
    """The pair named on dev, and of every method the candidates and which was chosen."""
    answered = run.dev(m.name for m in run.methods if m.sides["dev"])
    samples = {name: headline_sample(run, scorer, lines, 1) for name, lines in answered.items()}
    for side, tuned in (("untuned", False), ("tuned", True)):
        names = [m.name for m in run.methods if m.tuned is tuned and m.name in samples]
        found = choose(names, [samples[name] for name in names])
        yield Line(f"decided on dev: {side}", run.info["decided"][side], found)
    for method in run.methods:
        yield from candidate_lines(run, scorer, method)


def tried_samples(run: Run, scorer: Scorer, method: Method) -> dict[str, Sample]:
    """Each candidate's answers on dev under the headline metric, the simplest candidate first."""
    return {name: headline_sample(run, scorer, in_order(lines), 1) for name, lines in method.tried.items()}


def candidate_lines(run: Run, scorer: Scorer, method: Method) -> Iterator[Line]:
    """The dev estimate of every candidate, and the choice among them with its reason."""
    samples, told = tried_samples(run, scorer, method), method.info["candidates"]
    yield Line(f"{method.name}: candidates", [candidate["name"] for candidate in told], list(samples))
    for candidate in told:
        what = f"{method.name}: dev, {candidate['name']}"
        yield from estimate_lines(what, candidate["dev"], samples.get(candidate["name"]))
    chosen = choose(list(samples), list(samples.values()))
    stored = [candidate["name"] for candidate in told if candidate["chosen"]]
    yield Line(f"{method.name}: chosen on dev", stored, [chosen] if chosen is not None else [])
    if chosen is None:
        return
    dev, tried = method.sides["dev"], method.tried[chosen]
    same = sum(dev.get(key) == line for key, line in tried.items())
    yield Line(f"{method.name}: dev rows as the chosen candidate answered them", len(dev), same)


# The verdict


@dataclass(frozen=True)
class Ladder:
    """All methods on the test with the joint intervals of their pairs."""

    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    differences: Mapping[tuple[str, str], Difference] = field(default_factory=dict)

    @cached_property
    def critical(self) -> Found:
        """95% quantile of the largest |t| over pairs, raised for few units; one for each batch."""
        least = float(student(self.samples[0].units))
        if not self.differences:
            return Found(np.array([least]))
        place = {name: sample.replicates for name, sample in zip(self.names, self.samples, strict=True)}
        ts = [
            np.abs(place[a] - place[b]) / found.error[:, None]
            for (a, b), found in self.differences.items()
            if self.names.index(a) < self.names.index(b)
        ]
        quantiles = np.quantile(np.max(ts, axis=0), 0.95, axis=1)
        return Found(np.maximum(student(self.samples[0].units, quantiles), least))


def ladder_of(run: Run, scorer: Scorer) -> Ladder:
    """The methods' test samples, and a - b for every ordered pair."""
    names = tuple(m.name for m in run.methods)
    samples = tuple(headline_sample(run, scorer, run.rows[name]) for name in names)
    pairs = {
        (a, b): difference(samples[i], samples[j])
        for (i, a), (j, b) in itertools.permutations(enumerate(names), 2)
    }
    return Ladder(names, samples, pairs)


def headline_lines(run: Run, scorer: Scorer, ladder: Ladder) -> Iterator[Line]:
    """The comparison declared in advance."""
    stored = run.verdict["headline"]
    tuned, untuned = decided(run)
    if stored is None or tuned is None or untuned is None:
        yield Line("headline: present", stored is not None, tuned is not None and untuned is not None)
        return
    a, b = (ladder.samples[ladder.names.index(name)] for name in (tuned, untuned))
    both = a.binary and b.binary
    test = "exact McNemar" if both else "swaps" if a.macro else "sign flips"
    if both:
        low, high = (Found(np.array([end])) for end in newcombe(a.sums[:, 0], b.sums[:, 0]))
    else:
        low, high = ladder.differences[tuned, untuned].bounds(student(a.units))
    yield Line("headline: tuned", stored["tuned"], tuned)
    yield Line("headline: untuned", stored["untuned"], untuned)
    gains = stored["difference"]["low"] > 0 and stored["p"] <= 0.05 and not too_few(run)
    yield Line("headline: gains", stored["gains"], gains)
    if run.verdict.get("evidence"):
        yield from run_lines(run, scorer, a, b)
        return
    p = p_value(a, b)
    yield Line("headline: value", stored["difference"]["value"], a.value - b.value, CLOSED)
    yield low.line("headline: low", stored["difference"]["low"])
    yield high.line("headline: high", stored["difference"]["high"])
    if not both and not a.macro:
        ends = difference(a, b, resampled=True).bounds(student(a.units))
        for name, end in zip(("low", "high"), ends, strict=True):
            yield end.line(f"headline: {name}, by resampling", stored["difference"][name])
    yield Line("headline: n", stored["difference"]["n"], a.units)
    yield Line("headline: test", stored["test"], test)
    yield p_line(p, stored["p"])


def run_lines(run: Run, scorer: Scorer, first: Sample, other: Sample) -> Iterator[Line]:
    """Several training runs against another method: a bootstrap over runs and units."""
    stored, found = run.verdict["headline"], run.verdict["evidence"]
    files = [
        run.folder / "methods" / found["method"] / "evidence" / f"seed-{each['seed']}" / "predictions.jsonl"
        for each in found["runs"][1:]
    ]
    further = [
        headline_sample(run, scorer, in_order({line["id"]: line for line in read_lines(file)}))
        for file in files
    ]
    samples, units = [first, *further], other.units
    for each, sample in zip(found["runs"], samples, strict=True):
        yield from estimate_lines(f"training run, seed {each['seed']}", each["estimate"], sample)
    num, values = len(samples), np.array([sample.value for sample in samples])
    each_run = np.stack([sample.replicates + sample.value for sample in samples])
    drawn = np.random.default_rng(SEED).multinomial(num, np.full(num, 1 / num), size=each_run.shape[1:]) / num
    runs = ((drawn - 1 / num) * np.moveaxis(each_run, 0, -1)).sum(axis=-1).std(axis=1) * math.sqrt(
        num / (num - 1)
    )
    rows = (each_run.mean(axis=0) - other.replicates).std(axis=1) * math.sqrt(units / (units - 1))
    rows = np.maximum(rows, 1 / units)
    error = np.hypot(rows, runs)
    freedom = error**4 / (rows**4 / (units - 1) + runs**4 / (num - 1))
    value = float(values.mean()) - other.value
    reach = stats.t.ppf(0.975, freedom) * error
    yield Line("headline: value", stored["difference"]["value"], value, CLOSED)
    for name, ends in (("low", np.maximum(value - reach, -1)), ("high", np.minimum(value + reach, 1))):
        yield Found(ends).line(f"headline: {name}", stored["difference"][name])
    yield Found(2 * stats.t.sf(abs(value) / error, freedom)).line("headline: p", stored["p"])
    yield Line("headline: n", stored["difference"]["n"], units)
    yield Line("headline: test", stored["test"], "bootstrap over training runs and rows")


def pair_lines(run: Run, ladder: Ladder) -> Iterator[Line]:
    """The simultaneous intervals, at our own critical value and, for means, at the stored one."""
    stored = run.verdict["critical"]
    yield ladder.critical.line("critical value", stored)
    named = [(pair["a"], pair["b"]) for pair in run.verdict["pairs"]]
    yield Line("pairs: which", named, list(itertools.combinations(ladder.names, 2)))
    for pair in run.verdict["pairs"]:
        found, told = ladder.differences[pair["a"], pair["b"]], pair["difference"]
        what = f"{pair['a']} - {pair['b']}"
        yield Line(f"{what}: value", told["value"], found.value, CLOSED)
        yield Line(f"{what}: n", told["n"], found.units)
        for place, end in enumerate(("low", "high")):
            if found.error.size == 1:
                fixed = found.bounds(stored)[place]
                yield fixed.line(f"{what}: {end}, stored critical value", told[end])
            yield found.bounds(ladder.critical.values)[place].line(f"{what}: {end}", told[end])


def stored_bounds(run: Run, name: str, without: Iterable[str] = ()) -> list[tuple[float, float]]:
    """Stored bounds of a method against every other one, or against all `without` some."""
    bounds = []
    for pair in run.verdict["pairs"]:
        if {pair["a"], pair["b"]} & {*without}:
            continue
        low, high = pair["difference"]["low"], pair["difference"]["high"]
        bounds += [(low, high)] if pair["a"] == name else [(-high, -low)] if pair["b"] == name else []
    return bounds


def status_of(bounds: Iterable[tuple[float, float]], margin: float) -> str:
    """Among the best, worse or undecided, from a method's bounds against every other."""
    bounds = list(bounds)
    if bounds and all(low > -margin for low, _ in bounds):
        return "among the best"
    return "worse" if any(high < -margin for _, high in bounds) else "undecided"


def possible_statuses(ladder: Ladder, name: str, margin: float) -> set[str]:
    """Statuses that our own bounds allow: as they are, and all moved to either end of their allowance."""
    statuses = set()
    for side in (-1, 0, 1):
        moved = []
        for other in ladder.names:
            if other != name:
                ends = ladder.differences[name, other].bounds(ladder.critical.values)
                moved.append(tuple(end.mean + side * end.allowed for end in ends))
        statuses.add(status_of(moved, margin))
    return statuses


def too_few(run: Run) -> bool:
    """Whether there are too few rows for any verdict on tuning."""
    rows = sum(run.info["split"][side] for side in ("train", "dev", "test"))
    return rows < FEWEST_ROWS and run.verdict["headline"] is not None


def nothing_right(ladder: Ladder) -> bool:
    """Whether every method scored 0: then no method is among the best, and no number of rows would decide."""
    return not any(sample.value for sample in ladder.samples)


def rows_to_decide(run: Run, ladder: Ladder, name: str) -> Found | None:
    """N = n ((c + 0.84) SE / |m + d|)², d the difference to the best other; above n, and None above 100,000."""
    others = [other for other in ladder.names if other != name]
    if not others:
        return None
    values = dict(zip(ladder.names, (sample.value for sample in ladder.samples), strict=True))
    best = max(others, key=lambda other: values[other])
    found = ladder.differences[name, best]
    distance = abs(run.info["margin"] + found.value)
    critical = run.verdict["critical"] if found.error.size == 1 else ladder.critical.values
    if distance < 1e-12:
        return None
    rows = np.ceil(ladder.samples[0].rows * ((critical + Z_POWER) * found.error / distance) ** 2 - 1e-9)
    rows = np.maximum(rows, ladder.samples[0].rows + 1)
    return None if rows.mean() > MOST_ROWS else Found(rows)


def nearest(ladder: Ladder, margin: float, names: Sequence[str]) -> list[str]:
    """The lowest of `names` within the margin of their best; two if one lies exactly on the margin."""
    values = {name: ladder.samples[ladder.names.index(name)].value for name in names}
    gaps = {name: max(values.values()) - value for name, value in values.items()}
    return [next(name for name in names if gaps[name] <= margin + slack) for slack in (-CLOSED, CLOSED)]


def equal_lines(run: Run, scorer: Scorer, ladder: Ladder) -> Iterator[Line]:
    """The baseline fitted on the rows of the tuned method of the headline, and the difference between both."""
    stored, tuned = run.verdict["equal"], decided(run)[0]
    if stored is None or tuned is None:
        return
    lines = read_lines(run.folder / "methods" / "baseline" / "equal_rows" / "predictions.jsonl")
    baseline = headline_sample(run, scorer, in_order({line["id"]: line for line in lines}))
    yield Line("equal rows", stored["rows"], next(m.info["learned"] for m in run.methods if m.name == tuned))
    yield from estimate_lines("equal rows: baseline", stored["estimate"], baseline)
    gap = ladder.samples[ladder.names.index(tuned)].value - baseline.value
    yield Line("equal rows: difference", stored["difference"]["value"], gap, CLOSED)


def ladder_lines(run: Run, ladder: Ladder) -> Iterator[Line]:
    """Each method's estimate, status and rows to decide; the recommended method."""
    few, margin = too_few(run) or nothing_right(ladder), run.info["margin"]
    for step, sample in zip(run.verdict["ladder"], ladder.samples, strict=True):
        name, status = step["method"], step["status"]
        yield from estimate_lines(name, step["estimate"], sample)
        if not sample.binary and not sample.macro:
            for key, end in zip(("low", "high"), estimate(sample, resampled=True), strict=True):
                yield end.line(f"{name}: {key}, by resampling", step["estimate"][key])
        again = "undecided" if few else status_of(stored_bounds(run, name), margin)
        part = name in run.cut and again != "among the best"
        yield Line(f"{name}: status by the stored bounds", status, "undecided" if part else again)
        if not few and not part and len(ladder.names) > 1:
            possible = possible_statuses(ladder, name, margin)
            yield Line(
                f"{name}: status by our bounds", status, status if status in possible else min(possible)
            )
        rows = None if few or part or status != "undecided" else rows_to_decide(run, ladder, name)
        stored = step["rows_to_decide"]
        yield (
            Line(f"{name}: rows to decide", stored, None)
            if rows is None
            else rows.line(f"{name}: rows to decide", stored)
        )
    own = [name for name in ladder.names if name not in run.copies]
    bounds = {name: stored_bounds(run, name, run.copies if own else ()) for name in own}
    good = [name for name in own if not few and status_of(bounds[name], margin) == "among the best"]
    yield Line("recommended", run.verdict["recommended"], good[0] if good else None)
    leaning, claims = run.verdict["leaning"], good[:1] or nearest(ladder, margin, own or ladder.names)
    yield Line("leaning", leaning, leaning if leaning in claims else claims[0])


def test_rows_lines(run: Run) -> Iterator[Line]:
    """How many rows of the test were answered: by every method the same, as planned, and as printed."""
    stored, whole = run.verdict["test_rows"], run.info["split"]["test"]
    answered = len(next(iter(run.rows.values())))
    same = all(sorted(m.sides["test"]) == sorted(run.methods[0].sides["test"]) for m in run.methods)
    yield Line("test rows: the same for every method", True, same)
    yield Line("test rows: answered", stored["answered"], answered)
    yield Line("test rows: in all", stored["of"], whole)
    yield Line("test rows: planned", run.info["plan"]["limits"]["test_rows"], answered)


def target_lines(run: Run) -> Iterator[Line]:
    """The lowest method whose own lower bound reaches the target."""
    stored, wanted = run.verdict["target"], run.info["target"]
    yield Line("target", stored and stored["target"], wanted)
    if stored:
        reached = [s["method"] for s in run.verdict["ladder"] if s["estimate"]["low"] >= stored["target"]]
        yield Line("target: met by", stored["met_by"], reached[0] if reached else None)


def tag_rows(run: Run, rows: Sequence[Json]) -> dict[tuple[str, str], list[Json]]:
    """Rows by (tag, value), and for classify by the label wanted, which a tag of that name does not replace."""
    found: dict[tuple[str, str], list[Json]] = {}
    for row in rows:
        tags = dict(row["tags"])
        if run.task["kind"] == "classify":
            own = {tag: f"{tag} (tag)" for tag in tags if re.fullmatch(r"label( \(tag\))*", tag)}
            tags = {own.get(tag, tag): value for tag, value in tags.items()} | {"label": row["expected"]}
        for tag, value in tags.items():
            found.setdefault((tag, str(value)), []).append(row)
    return found


def tag_lines(run: Run) -> Iterator[Line]:
    """Results by tag: the mean score with its own interval, also where the headline is macro-F1."""
    again = {
        (tag, value, name): sample_of(rows)
        for name in run.rows
        for (tag, value), rows in tag_rows(run, run.rows[name]).items()
    }
    stored = {(e["tag"], e["value"], e["method"]): e["estimate"] for e in run.verdict["by_tag"]}
    yield Line("by tag: which", sorted(stored), sorted(again))
    keys = sorted(stored.keys() & again.keys())
    ends = {key: estimate(again[key]) for key in keys}
    yield largest("by tag: value", [stored[k]["value"] for k in keys], [again[k].value for k in keys])
    yield largest("by tag: low", [stored[k]["low"] for k in keys], [ends[k][0].mean for k in keys])
    yield largest("by tag: high", [stored[k]["high"] for k in keys], [ends[k][1].mean for k in keys])
    yield largest("by tag: n", [stored[k]["n"] for k in keys], [again[k].units for k in keys], 0)


def form_lines(run: Run) -> Iterator[Line]:
    """Contract kept, check passed, answers cut."""
    for name, rows in run.rows.items():
        stored = run.verdict["forms"][name]
        for key in ("form", "check"):
            known = [row | {"score": float(row[key])} for row in rows if row[key] is not None]
            yield from estimate_lines(f"{name}: {key}", stored[key], sample_of(known) if known else None)
        yield Line(f"{name}: cut", stored["cut"], sum(row["cut"] for row in rows))


OTHERS = {
    "classify": ("accuracy", "macro_f1"),
    "extract": ("exact_match", "right_fields"),
    "answer": ("exact_match", "token_f1", "chrf"),
    "rewrite": ("exact_match", "chrf", "sari"),
}


def other_lines(run: Run, scorer: Scorer) -> Iterator[Line]:
    """The metrics beside the headline."""
    names = [name for name in OTHERS[run.task["kind"]] if name != run.metric]
    for method, rows in run.rows.items():
        yield Line(f"{method}: other measures", list(run.verdict["others"][method]), names)
        for name in names:
            scored = [row | {"score": row["others"][name]} for row in rows]
            sample = sample_of(scored, scorer if name == "macro_f1" else None)
            yield from estimate_lines(f"{method}: {name}", run.verdict["others"][method][name], sample)


# Classes, probabilities and fields


def detail_lines(run: Run, scorer: Scorer) -> Iterator[Line]:
    """Reported beside the estimates of each method; of calibration errors and fields without their intervals."""
    for method, rows in run.rows.items():
        stored = run.verdict["details"][method]
        if run.task["kind"] == "classify":
            yield from class_lines(f"{method}: classes", stored["classes"], rows, scorer)
            yield from reliance_lines(f"{method}: probabilities", stored["reliance"], rows)
        if run.task["kind"] == "extract":
            yield from field_lines(f"{method}: fields", stored["fields"], rows)


def class_lines(what: str, stored: list[Json], rows: Sequence[Json], scorer: Scorer) -> Iterator[Line]:
    """Each label with what its rows were given in its place."""
    labels = {row["expected"].strip() for row in rows}
    yield Line(f"{what}: labels", sorted(each["label"] for each in stored), sorted(labels))
    yield Line(
        f"{what}: worst first",
        [each["right"]["value"] for each in stored],
        sorted(each["right"]["value"] for each in stored),
    )
    for each in stored:
        of_label = [row for row in rows if row["expected"].strip() == each["label"]]
        yield from estimate_lines(f"{what}: {each['label']}", each["right"], sample_of(of_label))
        wrong = Counter(
            label_of(listed(scorer.contract.get("labels")), row["answer"])
            or (row["answer"].strip() if isinstance(row["value"], str) else "(no label)")
            for row in of_label
            if row["score"] != 1
        )
        yield Line(f"{what}: {each['label']}: instead", each["instead"], dict(wrong))


def reliance_lines(what: str, stored: Json | None, rows: Sequence[Json]) -> Iterator[Line]:
    """Calibration error, Brier score, and what is right among the surest rows."""
    sure = sorted((row for row in rows if row["confidence"] is not None), key=lambda row: row["id"])
    yield Line(f"{what}: present", stored is not None, bool(sure))
    if stored is None or not sure:
        return
    ascending = sorted(row["confidence"] for row in sure)
    edges = [ascending[len(sure) * part // 15] for part in range(1, 15)]
    bins: dict[int, list[Json]] = {}
    for row in sure:
        bins.setdefault(sum(edge <= row["confidence"] for edge in edges), []).append(row)
    error = sum(
        abs(math.fsum(row["score"] - row["confidence"] for row in inside)) for inside in bins.values()
    )
    yield Line(f"{what}: calibration error", stored["error"]["value"], error / len(sure), CLOSED)
    squared = [row | {"score": (row["confidence"] - row["score"]) ** 2} for row in sure]
    yield from estimate_lines(f"{what}: Brier", stored["brier"], sample_of(squared))
    ranked = sorted(sure, key=lambda row: -row["confidence"])
    for each in stored["surest"]:
        kept = ranked[: max(1, round(each["share"] * len(ranked)))]
        yield Line(f"{what}: least of {each['share']}", each["least"], kept[-1]["confidence"])
        yield from estimate_lines(f"{what}: surest {each['share']}", each["right"], sample_of(kept))


def field_lines(what: str, stored: Json, rows: Sequence[Json]) -> Iterator[Line]:
    """F1 of each field."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        given = object_of(row["answer"]) or {}
        outputs = [object_of(text) or {} for text in (row["expected"], *row["references"])]
        texts = [row["expected"], *row["references"]]
        wanted = outputs[max(range(len(texts)), key=lambda n: (shared_fields(row["answer"], texts[n]), -n))]
        for name in {*given, *wanted}:
            same = name in given and name in wanted and same_json(given[name], wanted[name])
            counts.setdefault(name, Counter()).update(
                {"right": int(same), "given": int(name in given), "wanted": int(name in wanted)}
            )
    yield Line(f"{what}: names", sorted(stored), sorted(counts))
    for name, found in counts.items():
        f1 = 2 * found["right"] / (found["given"] + found["wanted"]) if found["wanted"] else 0.0
        yield Line(f"{what}: {name}", stored[name]["value"], f1, CLOSED)


# Costs

TOKENS = ("prompt_tokens", "cached_tokens", "answer_tokens")


def prices_of(run: Run, model: str) -> tuple[Json, bool]:
    """The prices that hold for a model, and whether they are its own: those of an endpoint."""
    prices = run.task.get("prices") or {}
    for key in ("prompt_model", "model"):
        part = run.task.get(key)
        if isinstance(part, dict) and model.startswith(f"{part['endpoint'].rstrip('/')}#{part['model']}"):
            by_tokens = None not in (prices.get("prompt"), prices.get("answer"))
            return part.get("prices") or (prices if key == "model" and by_tokens else {}), True
    return prices, False


def costs_of(run: Run, name: str) -> dict[str, float | None]:
    """A method's mean tokens and seconds of a request, and its price where the user's prices fix it.

    Prices of tokens are of the task's model: what the model of prompts answered has none.
    """
    rows, model = run.rows[name], next(m.info["model"] for m in run.methods if m.name == name)
    cost: dict[str, Any] = {
        key: math.fsum(row[key] for row in rows) / len(rows) for key in (*TOKENS, "seconds")
    }
    prices, own = prices_of(run, model)
    prompt, answer, per_hour = (prices.get(key) for key in ("prompt", "answer", "per_hour"))
    cost["price"] = None
    if prompt is not None and answer is not None:
        if not own and model == run.info["prompt_model"] != run.info["model"]:
            return cost
        cached = prices["cached"] if prices.get("cached") is not None else prompt
        fresh = cost["prompt_tokens"] - cost["cached_tokens"]
        told = fresh * prompt + cost["cached_tokens"] * cached + cost["answer_tokens"] * answer
        cost["price"] = told / 1e6
    elif per_hour is not None:
        cost["price"] = cost["seconds"] * per_hour / 3600
    return cost


def relative(what: str, stored: Number, again: Number) -> Line:
    """A comparison of numbers of any size."""
    return Line(what, stored, again, CLOSED * abs(again or 0))


def cost_lines(run: Run) -> Iterator[Line]:
    """Costs of a request, method by method."""
    for name in run.rows:
        for key, value in costs_of(run, name).items():
            yield relative(f"{name}: {key}", run.verdict["costs"][name][key], value)


def break_even_of(run: Run) -> Json | None:
    """F / (c_U - c_T) requests, in money where a request and a machine hour have prices.

    F is the training alone, without choosing on dev, and in money the price of the data. None where there are
    too few rows for a verdict on tuning.
    """
    headline = run.verdict["headline"]
    if headline is None or too_few(run):
        return None
    tuned, untuned = (costs_of(run, headline[side]) for side in ("tuned", "untuned"))
    fixed = next(m.info["train_seconds"] for m in run.methods if m.name == headline["tuned"])
    per_hour = (run.task.get("prices") or {}).get("per_hour")
    money = per_hour is not None and tuned["price"] is not None and untuned["price"] is not None
    key = "price" if money else "seconds"
    if money:
        fixed = fixed * per_hour / 3600 + ((run.task.get("prices") or {}).get("data") or 0)
    saved = untuned[key] - tuned[key]
    return {
        "unit": "money" if money else "seconds",
        "fixed": fixed,
        "untuned_per_request": untuned[key],
        "tuned_per_request": tuned[key],
        "requests": math.ceil(fixed / saved) if saved > 0 else None,
        "prompt_tokens_saved": untuned["prompt_tokens"] - tuned["prompt_tokens"],
    }


def break_even_lines(run: Run) -> Iterator[Line]:
    """When tuning is earned back."""
    stored, again = run.verdict["break_even"], break_even_of(run)
    if stored is None or again is None:
        yield Line("break-even: present", stored is not None, again is not None)
        return
    yield Line("break-even: unit", stored["unit"], again["unit"])
    for key in ("fixed", "untuned_per_request", "tuned_per_request", "requests", "prompt_tokens_saved"):
        yield relative(f"break-even: {key}", stored[key], again[key])


# What the test can show


def shown(rows: int, units: int, disagree: float, grouped: bool = False) -> float:
    """The smallest difference found in 80% of tests: 2.8 sqrt(d / n), with groups by Student's quantiles.

    With groups, 2.8 becomes the sum of both quantiles for G - 1 times the deviation of Student's t.
    """
    if units == rows and not grouped:
        return min(2.8 * math.sqrt(disagree / rows), 1.0)
    if units <= 3:
        return 1.0
    factor = float(student(units) + student(units, stats.norm.ppf(0.8))) * math.sqrt(
        (units - 1) / (units - 3)
    )
    return min(factor * math.sqrt(disagree / rows), 1.0)


def shown_of_rows(run: Run, rows: int, units: int, disagree: float, grouped: bool = False) -> float | None:
    """`shown`; of right and wrong answers None where it is more than the share of rows that disagree."""
    found = shown(rows, units, disagree, grouped)
    return None if run.metric not in GRADED and found > disagree else found


def power_lines(run: Run, scorer: Scorer, ladder: Ladder) -> Iterator[Line]:
    """The smallest difference that the answered rows of the test can show."""
    rows, units = ladder.samples[0].rows, ladder.samples[0].units
    for entry in run.info["power"]:
        again = shown_of_rows(run, units, units, entry["disagree"], grouped=units < rows)
        yield Line(f"smallest difference at {entry['disagree']:.0%}", entry["difference"], again, CLOSED)
    stored = run.info.get("power_on_dev")
    pair = [name for name in decided(run) if name is not None]
    if stored and len(pair) == 2:
        sides = run.dev(pair)
        dev = [headline_sample(run, scorer, sides[name], key=1) for name in pair]
        errors = difference(dev[0], dev[1]).error
        found = Found(dev[0].rows * errors**2 if dev[0].units > 1 else np.ones(1))
        again: float | None = shown(rows, units, stored["disagree"])
        if dev[0].binary and dev[1].binary:
            again = shown_of_rows(run, rows, units, stored["disagree"])
        yield found.line("disagreement on dev", stored["disagree"])
        yield Line("smallest difference as seen on dev", stored["difference"], again, CLOSED)


def decided(run: Run) -> tuple[str | None, str | None]:
    """The tuned and the untuned method of the headline, as named on dev."""
    return run.info["decided"]["tuned"], run.info["decided"]["untuned"]


def compare(run: Run, scorer: Scorer) -> Iterator[Line]:
    """All comparisons of one run."""
    yield from scores(run, scorer)
    yield from dev_lines(run, scorer)
    ladder = ladder_of(run, scorer)
    yield from headline_lines(run, scorer, ladder)
    yield from ladder_lines(run, ladder)
    yield from equal_lines(run, scorer, ladder)
    yield from pair_lines(run, ladder)
    yield from test_rows_lines(run)
    yield from target_lines(run)
    yield from tag_lines(run)
    yield from form_lines(run)
    yield from other_lines(run, scorer)
    yield from detail_lines(run, scorer)
    yield from cost_lines(run)
    yield from break_even_lines(run)
    yield from power_lines(run, scorer, ladder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table of the run named on the command line; 1 when something does not agree."""
    parser = argparse.ArgumentParser(description="Works out every number of a run folder once more.")
    parser.add_argument("run", type=Path, help="a complete run folder")
    parser.add_argument("--check-file", type=Path, help="the file of the task's check function")
    options = parser.parse_args(arguments)
    run = read_run(options.run)
    scorer = Scorer(run.metric, contract_of(run), load_check(run, options.check_file))
    lines = list(compare(run, scorer))
    print_table(lines)
    return int(not all(line.ok for line in lines))


if __name__ == "__main__":
    sys.exit(main())
