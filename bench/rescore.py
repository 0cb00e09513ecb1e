"""Recompute a run's scores, choices, intervals, statuses and headline with a second implementation,
without Étude's code.

    python bench/rescore.py RUN_FOLDER [--check-file PATH]

Reads the answers in methods/*/predictions.jsonl and methods/*/tried.jsonl (every candidate on dev),
scores them, repeats the choices on dev, and compares with method.json, run.json and verdict.json.
Prints a table

    what | stored | recomputed | difference | allowed | ok

and exits with 1 if a line disagrees. Allowed differences: none for names, counts and statuses; 1e-9
for scores and closed forms. A number from one bootstrap of 2,000 resamples is recomputed with
BATCHES other seeds. The stored number must be within their mean ± t s sqrt(1 + 1 / BATCHES), which
fails by chance once in 1 / RARE comparisons. A p-value from 4,095 random patterns is compared with
the binomial quantiles of the same level.

Not checked: kinds of failure, costs, power, results by tag, further metrics, details of classes and
fields, evidence, the judge; the metric and the split, because training rows are not in the run
folder; and sentences, which only print numbers of verdict.json.
"""

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
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
LEVEL = 0.95
RARE = 1e-4
CLOSED = 1e-9
EQUAL = 1e-6  # smaller differences of scores and smaller standard errors count as 0
DIGITS = 12  # digits to which values on dev are rounded before they are compared
SEED = 7_654_321
Z = float(stats.norm.ppf(0.975))
Z_POWER = 0.84
MIN_ROWS = 150
MAX_ROWS = 100_000
AGGREGATES = (
    "macro_f1",
    "micro_f1",
    "kappa",
    "question_mean",
    "value_f1",
)  # metrics, not means over rows

Json = dict[str, Any]


# The table


@dataclass(frozen=True)
class Check:
    """One stored value next to the recomputed one."""

    label: str
    stored: Any
    recomputed: Any
    allowed: float = 0.0

    @property
    def difference(self) -> float | None:
        """Absolute difference of two numbers; None for anything else."""
        if isinstance(self.stored, int | float) and isinstance(self.recomputed, int | float):
            return abs(self.stored - self.recomputed)
        return None

    @property
    def is_ok(self) -> bool:
        """Whether both are equal; for numbers, within the allowed difference."""
        gap = self.difference
        return self.stored == self.recomputed if gap is None else gap <= self.allowed


def print_table(checks: Sequence[Check]) -> None:
    """Print a Markdown table, and the checks that disagree."""
    print("| what | stored | recomputed | difference | allowed | ok |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for check in checks:
        pair = check.stored, check.recomputed
        values = (
            f"{value:.10g}" if isinstance(value, float) else str(value)[:40] for value in pair
        )
        gap = "" if check.difference is None else f"{check.difference:.3g}"
        ok = "yes" if check.is_ok else "NO"
        print("| " + " | ".join((check.label, *values, gap, f"{check.allowed:.3g}", ok)) + " |")
    wrong = [check.label for check in checks if not check.is_ok]
    print(f"\n{len(checks)} comparisons, {len(wrong)} do not agree", *wrong, sep="\n- ")


# The run folder


@dataclass(frozen=True)
class Method:
    """One method's method.json and its lines by row id: of both sides, of each candidate on dev,
    and of each candidate in cross-validation.
    """

    name: str
    info: Json
    sides: Mapping[str, Mapping[str, Json]]
    tried: Mapping[str, Mapping[str, Json]]
    held_out: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """The content of a run folder."""

    folder: Path
    info: Json
    task: Json
    verdict: Json
    methods: tuple[Method, ...]

    @property
    def partly_trained(self) -> set[str]:
        """Tuned methods whose training was cut by a budget or `max_rows`."""
        num_rows = self.verdict["train_rows"]
        learned = {row["method"]: row["learned"] for row in self.verdict["ladder"]}
        tuned = {m.name: m.info for m in self.methods if m.info["tuned"]}
        is_cut = {name: learned[name] is not None and learned[name] < num_rows for name in tuned}
        return {
            name for name, info in tuned.items() if is_cut[name] or info["full_seconds"] is not None
        }

    @property
    def beaten(self) -> set[str]:
        """Methods that were clearly worse on dev under a budget; they are not compared on the
        test.
        """
        return {m.name for m in self.own} - {*self.info["contenders"]}

    @property
    def copying(self) -> set[str]:
        """Methods without a language model, if no check looks at the content of answers: none of
        them may be recommended.
        """
        unchecked = self.info["metric"]["contract_only"]
        return {m.name for m in self.methods if unchecked and m.info["model"] == "classical"}

    @property
    def own(self) -> tuple[Method, ...]:
        """The methods without the stored answers of other models."""
        return tuple(m for m in self.methods if not m.info.get("is_stored"))

    @property
    def has_too_few_rows(self) -> bool:
        """Whether there are too few rows for any verdict on tuning."""
        num_rows = sum(self.info["split"][side] for side in ("train", "dev", "test"))
        return num_rows < MIN_ROWS and self.verdict["headline"] is not None


class TaskLoader(yaml.SafeLoader):
    """YAML in which yes and no are texts: they are common labels."""

    yaml_implicit_resolvers: ClassVar = {
        first: [
            (tag, pattern) for tag, pattern in rules if first in "tTfF" or not tag.endswith(":bool")
        ]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_json(path: Path) -> Json:
    """Read a JSON object."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def read_lines(path: Path) -> list[Json]:
    """Read a file with one JSON object per line."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_method(folder: Path) -> Method:
    """Read method.json, predictions.jsonl and tried.jsonl. For each row, the last line counts."""
    sides: dict[str, dict[str, Json]] = {"dev": {}, "test": {}}
    for line in read_lines(folder / "predictions.jsonl"):
        sides[line["side"]][line["id"]] = line
    tried = read_candidates(folder / "tried.jsonl")
    held_out = read_candidates(folder / "work" / "cross_validation.jsonl")
    return Method(folder.name, read_json(folder / "method.json"), sides, tried, held_out)


def read_candidates(file: Path) -> dict[str, dict[str, Json]]:
    """Read the lines of each candidate by row id, and the fold if there is one; none without the
    file.
    """
    candidates: dict[str, dict[str, Json]] = {}
    for line in read_lines(file) if file.exists() else ():
        candidates.setdefault(line.pop("candidate"), {})[f"{line['id']}{line.get('fold', '')}"] = (
            line
        )
    return candidates


def read_stored(folder: Path, model: str, num_rows: int) -> Method:
    """Read the stored answers of another model to the test rows that the methods answered."""
    lines = [line for line in read_lines(folder / "stored_answers.jsonl") if line["model"] == model]
    info = {"tuned": False, "model": "", "params": {}, "candidates": [], "is_stored": True}
    return Method(
        model, info, {"dev": {}, "test": {line["id"]: line for line in lines[:num_rows]}}, {}
    )


def read_run(folder: Path) -> Run:
    """Read everything that is checked. Methods are in the order of the verdict's ladder."""
    if not (folder / "verdict.json").exists():
        raise SystemExit(f"{folder}: no verdict.json; give the folder of a complete run")
    verdict = read_json(folder / "verdict.json")
    task = yaml.load((folder / "task.yaml").read_text(encoding="utf-8"), Loader=TaskLoader)
    methods = tuple(
        read_stored(folder, row["method"], verdict["test_rows"]["answered"])
        if row.get("is_stored")
        else read_method(folder / "methods" / row["method"])
        for row in verdict["ladder"]
    )
    return Run(folder, read_json(folder / "run.json"), task, verdict, methods)


# The contract


def normalize(text: str) -> str:
    """Normalize case, width of characters and white space of a text."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def parse_json(text: str) -> Any:
    """Parse a text as strict JSON. Raises ValueError."""
    try:
        return json.loads(text.strip(), parse_constant=refuse_constant, parse_float=parse_float)
    except RecursionError:
        raise ValueError("nested too deep") from None


def parse_float(text: str) -> float:
    """Parse a number within the range of a float."""
    return float(text) if math.isfinite(float(text)) else refuse_constant(text)


def refuse_constant(name: str) -> Any:
    """Refuse NaN and Infinity, which are not JSON."""
    raise ValueError(name)


def keeps_contract(contract: Mapping[str, Any], answer: str) -> bool:
    """Whether an answer satisfies every key of a contract."""
    text = answer.strip()
    lowered = answer.casefold()
    labels, fields = (as_list(contract.get(key)) for key in ("labels", "fields"))
    regex = contract.get("regex")
    return (
        bool(text)
        and (not labels or find_label(labels, text) is not None)
        and (contract.get("json_schema") is None or fits_schema(contract["json_schema"], text))
        and (not fields or fits_fields(fields, text))
        and (regex is None or re.fullmatch(regex, text) is not None)
        and len(text.split()) <= (contract.get("max_words") or math.inf)
        and all(word.casefold() in lowered for word in as_list(contract.get("must_contain")))
        and not any(
            word.casefold() in lowered for word in as_list(contract.get("must_not_contain"))
        )
    )


def as_list(value: Any) -> list[str]:
    """List the texts of a key that has several, one or none."""
    return [
        str(text)
        for text in (value if isinstance(value, list) else [] if value is None else [value])
    ]


def find_label(labels: Sequence[str], text: str) -> str | None:
    """Return the label that a text is: exactly, or without case, marks around it and a final full
    stop.
    """
    if text.strip() in labels:
        return text.strip()
    matches = [label for label in labels if strip_label(label) == strip_label(text)]
    return matches[0] if len(matches) == 1 else None


def strip_label(text: str) -> str:
    """Normalize case, and remove white space, quotes, asterisks and closing punctuation around a
    text.
    """
    marks = " \t\r\n\"'`´’‘“”„»«*"
    return text.rstrip(marks + ".,;:!?").lstrip(marks).casefold()


def fits_schema(schema: Mapping[str, Any], text: str) -> bool:
    """Whether a text is valid JSON for a schema."""
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)
    try:
        return bool(validator.is_valid(parse_json(text)))
    except (ValueError, RecursionError):
        return False


def fits_fields(fields: Sequence[str], text: str) -> bool:
    """Whether a text consists of the fields: each once, in order, not empty, and no other text."""
    required = {name.removesuffix("?").strip(): not name.endswith("?") for name in fields}
    values: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        head, _, value = (cell.strip() for cell in line.partition(":"))
        if head in required and head not in values:
            key = head
            values[head] = value
        elif head in required or (line.strip() and not key):
            return False  # a field is there twice, or there is text outside the fields
        elif line.strip():
            values[key] += line
        else:
            key = ""
    is_complete = all(name in values for name, is_needed in required.items() if is_needed)
    is_ordered = list(values) == [name for name in required if name in values]
    return is_complete and is_ordered and all(map(str.strip, values.values()))


# Scores of single answers


def same_json(first: Any, second: Any) -> bool:
    """Equality of JSON values: key order does not matter, 1 is 1.0, and true is not 1."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            same_json(first[key], second[key]) for key in first
        )
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_json, first, second))
    return bool(first == second)


def exact_match(answer: str, outputs: Sequence[str]) -> float:
    """Return 1 if the answer equals a right output: as JSON if both are JSON, else as plain
    text.
    """
    return float(any(is_equal(answer, output) for output in outputs))


def is_equal(answer: str, output: str) -> bool:
    """Whether two outputs are equal."""
    values = []
    for text in (answer, output):
        try:
            values.append(parse_json(text))
        except ValueError:
            continue
    if len(values) == 2:
        return same_json(*values)
    return not values and normalize(answer) == normalize(output)


def calls(answer: str, outputs: Sequence[str], defaults: Json) -> float:
    """Return 1 if an answer makes the same calls as a right output, in any order, and all of them
    can be read.
    """
    (parsed, num_broken), *right = (parse_calls(text, defaults) for text in (answer, *outputs))
    return float(not num_broken and any(same_calls(parsed, expected) for expected, _ in right))


def same_calls(calls: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether some order of the calls equals the expected ones."""
    if not calls or not expected:
        return not calls and not expected
    matches = [place for place, call in enumerate(expected) if same_json(calls[0], call)]
    return any(
        same_calls(calls[1:], [*expected[:place], *expected[place + 1 :]]) for place in matches[:1]
    )


def parse_calls(text: str, defaults: Json) -> tuple[list[Any], int]:
    """Parse name and arguments, with the defaults, of each function called, and count the calls
    that cannot be read.
    """
    parsed = []
    num_broken = 0
    for segment in text.split("<tool_call>")[1:]:
        inner, end, _ = segment.partition("</tool_call>")
        try:
            call = parse_json(inner if end else "")
            call = call.get("function", call)
            arguments = call.get("arguments", call.get("parameters", {}))
            arguments = parse_json(arguments or "{}") if isinstance(arguments, str) else arguments
            if not call.get("name") or not isinstance(arguments, dict):
                raise ValueError("no call")
            parsed.append([str(call["name"]), defaults.get(str(call["name"]), {}) | arguments])
        except (ValueError, AttributeError):
            num_broken += 1
    return parsed, num_broken


def chrf(answer: str, outputs: Sequence[str]) -> float:
    """Compute chrF2 with the most similar right output, 0 to 1."""
    return max(CHRF().sentence_score(answer, [output]).score for output in outputs) / 100


def squad_f1(answer: str, output: str) -> float:
    """Compute F1 of words like SQuAD's evaluation script."""
    marks = str.maketrans("", "", string.punctuation)
    texts = (text.lower().translate(marks) for text in (answer, output))
    predicted, expected = (re.sub(r"\b(a|an|the)\b", " ", text).split() for text in texts)
    if not (predicted and expected):
        return float(predicted == expected)
    return 2 * (Counter(predicted) & Counter(expected)).total() / (len(predicted) + len(expected))


def sari(source: str, answer: str, references: Sequence[str]) -> float:
    """Compute SARI like its authors' script (SARI.py of cocoxu/simplification), except that the
    recall of kept n-grams and the empty cases are as in Hugging Face's `evaluate`.
    """
    tokenized = [Tokenizer13a()(text.lower()).split() for text in (source, answer, *references)]
    return sum(sum(sari_parts(n, *tokenized)) for n in (1, 2, 3, 4)) / 12


def sari_parts(n: int, *texts: list[str]) -> tuple[float, float, float]:
    """Score the kept, deleted and added n-grams."""
    grams = (zip(*(words[shift:] for shift in range(n)), strict=False) for words in texts)
    before, after, *references = map(Counter, grams)
    reference: Counter[Any] = sum(references, Counter())
    times = len(references)
    source = {gram: times * number for gram, number in before.items()}
    shared = {
        gram: min(number, times * after[gram]) for gram, number in source.items() if after[gram]
    }
    good = {gram: min(number, reference[gram]) for gram, number in shared.items()}
    in_both = sum(min(number, reference[gram]) for gram, number in source.items())
    precision = sum(good[gram] / shared[gram] for gram in shared) / len(shared) if shared else 1.0
    recall = sum(good.values()) / in_both if in_both else 1.0
    removed = {
        gram: left for gram, number in source.items() if (left := number - times * after[gram]) > 0
    }
    delete = [max(0, number - reference[gram]) / number for gram, number in removed.items()]
    new = set(after) - set(before)
    wanted = set(reference) - set(before)
    hits = len(new & set(reference))
    added = harmonic_mean(hits / len(new) if new else 1.0, hits / len(wanted) if wanted else 1.0)
    return harmonic_mean(precision, recall), sum(delete) / len(delete) if delete else 1.0, added


def harmonic_mean(precision: float, recall: float) -> float:
    """Compute F1 from precision and recall."""
    return 2 * precision * recall / (precision + recall) if precision or recall else 0.0


@dataclass(frozen=True)
class Scorer:
    """Scores the answers of one task."""

    metric: str
    contract: Mapping[str, Any]
    check: Callable[[Any, str], Any] | None
    scale: Sequence[str] = ()
    several: bool = False
    questions: Mapping[str, "Scorer"] = field(default_factory=dict)
    """The scorer of each of several questions; its contract has only the question's labels."""

    def score(self, row: Json) -> Json:
        """Recompute `score`, `keeps_contract` and `check` of one line of predictions.jsonl."""
        answer = row["answer"]
        outputs = [row["expected"], *row["references"]]
        kept = keeps_contract(self.contract, answer) if self.contract else None
        checked = None if self.check is None else float(self.check(build_example(row), answer))
        metrics: dict[str, Callable[[], float]] = {
            "passes": lambda: 0.0 if kept is False else 1.0 if checked is None else checked,
            "exact_match": lambda: exact_match(answer, outputs),
            "value_f1": lambda: value_f1(answer, outputs),
            "chrf": lambda: chrf(answer, outputs),
            "calls": lambda: calls(answer, outputs, row.get("defaults", {})),
            "token_f1": lambda: max(squad_f1(answer, output) for output in outputs),
            "sari": lambda: sari(row["input"], answer, outputs),
            "accuracy": lambda: float(self.predict(row) in [text.strip() for text in outputs]),
        }
        metrics["subset_accuracy"] = lambda: float(metrics["sample_f1"]() == 1)
        metrics["macro_f1"] = metrics["subset_accuracy" if self.several else "accuracy"]
        metrics["kappa"] = lambda: max(
            1 - self.measure_distance(row, text) ** 2 for text in outputs
        )
        metrics["sample_f1"] = lambda: max(
            list_f1(self.list_labels(row), read_list(x)) for x in outputs
        )
        metrics["micro_f1"] = metrics["sample_f1"]
        metrics["question_mean"] = lambda: float(
            np.mean([part.score(part_row)["score"] for part, part_row in self.split_row(row)])
        )
        score = metrics[self.metric]()
        return {"score": score, "keeps_contract": kept, "check": checked}

    def split_row(self, row: Json) -> list[tuple["Scorer", Json]]:
        """Return each question's scorer with the row of this question. Another right output counts
        only as a whole.
        """
        outputs = [self.read_answers(text) for text in (row["expected"], *row["references"])]
        answers = self.read_answers(row["answer"])
        expected = answers if answers in outputs else outputs[0]
        rows = []
        for name, part in self.questions.items():
            texts = {"answer": answers[name], "value": answers[name], "expected": expected[name]}
            part_row = row | texts | {"references": []}
            rows.append((part, part_row | {"score": float(answers[name] == expected[name])}))
        return rows

    def read_answers(self, text: str) -> dict[str, str]:
        """Read the label of each question from a JSON object; "" for one without an answer."""
        with suppress(ValueError):
            if isinstance(values := json.loads(text), dict):
                return {
                    name: part.read_label(values.get(name, ""))
                    for name, part in self.questions.items()
                }
        return dict.fromkeys(self.questions, "")

    def read_label(self, value: Any) -> str:
        """Read a label of the contract from a JSON value: equal texts and numbers; true and false
        are yes and no.
        """
        labels = self.contract["labels"]
        text = value if isinstance(value, str) else json.dumps(value)
        text = text.strip()
        wanted = {"true": "yes", "false": "no"}.get(text.casefold(), text)
        matches = [label for label in labels if label in (text, wanted)]
        numbers = [label for label in labels if re.fullmatch(r"[-\d.]+", label)]
        with suppress(ValueError):
            matches += [label for label in numbers if float(label) == float(text)]
        return matches[0] if matches else text

    def predict(self, row: Json) -> str:
        """Return the label of a row's answer, else its whole text."""
        return (
            find_label(as_list(self.contract.get("labels")), row["answer"]) or row["answer"].strip()
        )

    def list_labels(self, row: Json) -> set[str]:
        """Return the labels of a row's answer."""
        return set(row["value"]) if isinstance(row["value"], list) else read_list(row["answer"])

    def place(self, row: Json, expected: str) -> int:
        """Return the position of a row's answer on the scale; without one, the end of the scale
        that is farther away.
        """
        answer = self.predict(row)
        right = self.scale.index(expected)
        if answer in self.scale:
            return self.scale.index(answer)
        return max((0, len(self.scale) - 1), key=lambda end: abs(end - right))

    def measure_distance(self, row: Json, expected: str) -> float:
        """Measure the distance of the answer from a right score, as a share of the scale."""
        return abs(self.place(row, expected) - self.scale.index(expected)) / (len(self.scale) - 1)


def build_scorer(
    metric: Json, contract: Mapping[str, Any], check: Callable[[Any, str], Any] | None = None
) -> Scorer:
    """Build the scorer of a metric of run.json."""
    parts = metric.get("parts", ())
    questions = {
        part["question"]["name"]: build_scorer(part, {"labels": part["question"]["labels"]})
        for part in parts
    }
    forms = metric.get("scale", ()), metric.get("several", False)
    return Scorer(metric["name"], contract, check, *forms, questions)


def read_list(text: str) -> set[str]:
    """Read a list of labels: as JSON, or separated by |, ;, line breaks, or else commas."""
    with suppress(ValueError):
        if isinstance(labels := json.loads(text), list):
            return {
                label.strip() if isinstance(label, str) else json.dumps(label) for label in labels
            } - {""}
    parts = (
        re.split(r"[|;\n]", text.strip()) if re.search(r"[|;\n]", text.strip()) else text.split(",")
    )
    return {part.strip() for part in parts} - {""}


def list_f1(answered: set[str], expected: set[str]) -> float:
    """F1 of two sets of labels; 1 if both are empty."""
    total = len(answered) + len(expected)
    return 2 * len(answered & expected) / total if total else 1.0


def read_contract(run: Run) -> Json:
    """Read the task's contract. For classify without labels, the labels are those of the training
    rows.
    """
    contract = dict(run.task.get("contract") or {})
    if run.task["kind"] == "classify" and (run.task.get("several") or not contract.get("labels")):
        assistant = read_json(
            run.folder / "methods" / run.methods[0].name / "assistant" / "assistant.json"
        )
        contract |= {key: assistant["contract"][key] for key in ("labels", "json_schema")}
    return contract


def build_example(row: Json) -> SimpleNamespace:
    """Build the arguments of a check function from the run folder."""
    keys = {key: row[key] for key in ("id", "tags", "group")} | {
        "references": tuple(row["references"])
    }
    return SimpleNamespace(**keys, text=row["input"], output=row["expected"])


def load_check(run: Run, path: Path | None) -> Callable[[Any, str], Any] | None:
    """Load the user's check function; by default from the folder that contains runs/."""
    name = run.task.get("check")
    if not name:
        return None
    file, _, function = str(name).rpartition(":")
    path = path or run.folder.resolve().parents[1] / file
    if not path.exists():
        raise SystemExit(f"{path}: no such file; give it with --check-file")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(path.parent))
    spec: Any = importlib.util.spec_from_file_location("rescored_check", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)  # type: ignore[no-any-return]


def check_scores(label: str, rows: Sequence[Json], scorer: Scorer) -> Iterator[Check]:
    """Count the rows with the stored scores, key by key."""
    recomputed = [scorer.score(row) for row in rows]
    for key in ("score", "keeps_contract", "check"):
        checks = (
            Check(row["id"], row[key], recomputed[at][key], CLOSED) for at, row in enumerate(rows)
        )
        differing = [check.label for check in checks if not check.is_ok]
        first = f", first {differing[0]}" if differing else ""
        yield Check(
            f"{label}: rows with the same {key}{first}", len(rows), len(rows) - len(differing)
        )


# Samples, resampled by units


@dataclass(frozen=True)
class Sample:
    """One method's results on some rows as sums per unit.

    `sums` is (G, 2): score and rows; for macro-F1, (G, 3C): rows right, predicted and expected per
    label; for kappa, (G, K * K): rows with each expected and each answered score.
    """

    sums: np.ndarray
    names: tuple[str, ...]
    scores: np.ndarray
    macro: bool
    key: int
    scores_on_scale: int = 0
    """K, the scores of the scale, for kappa."""
    part_of: tuple[str, ...] = ()
    """All units that are resampled, if the units are only a part of them."""
    questions: tuple["Sample", ...] = ()
    """The samples whose aggregates are averaged; their sums are side by side."""

    @property
    def units(self) -> int:
        """The number of units."""
        return len(self.names)

    @property
    def effective_units(self) -> float:
        """The effective number of units of equal size (Kish 1965)."""
        return (
            self.units
            if self.macro
            else float(self.sums[:, 1].sum() ** 2 / (self.sums[:, 1] ** 2).sum())
        )

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.scores)

    @property
    def binary(self) -> bool:
        """Whether rows are ungrouped and either right or wrong."""
        return (
            not self.macro and self.rows == self.units and bool(np.isin(self.scores, (0, 1)).all())
        )

    @property
    def value(self) -> float:
        """The mean, macro-F1 or kappa; a negative one counts as 0."""
        return max(0.0, self.unbounded)

    @property
    def unbounded(self) -> float:
        """The value, with a negative kappa as it is."""
        return float(self.of(self.sums.sum(axis=0)))

    def of(self, sums: np.ndarray) -> np.ndarray:
        """Aggregate sums, (..., k) to (...). Labels that no row expects do not count."""
        if not self.macro:
            return np.asarray(sums[..., 0] / sums[..., 1])
        if self.questions:
            ends = np.cumsum([part.sums.shape[1] for part in self.questions])[:-1]
            pairs = zip(self.questions, np.split(sums, ends, axis=-1), strict=True)
            return np.asarray(np.mean([part.of(own) for part, own in pairs], axis=0))
        if size := self.scores_on_scale:
            table = sums.reshape(*sums.shape[:-1], size, size)
            distances = (np.arange(size)[:, None] - np.arange(size)) ** 2
            by_chance = np.einsum("...i,...j,ij", table.sum(axis=-1), table.sum(axis=-2), distances)
            observed = (table * distances).sum(axis=(-1, -2)) * table.sum(axis=(-1, -2))
            kappa = 1 - observed / np.maximum(by_chance, 1e-300)
            return np.asarray(np.where(by_chance > 0, kappa, np.where(observed > 0, 0.0, 1.0)))
        right, predicted, expected = np.split(sums, 3, axis=-1)
        f1 = 2 * right / np.maximum(predicted + expected, 1e-300)
        return np.asarray((f1 * (expected > 0)).sum(axis=-1) / (expected > 0).sum(axis=-1))

    @property
    def pulls(self) -> np.ndarray:
        """Compute the part of each unit in the error of the mean."""
        return np.asarray((self.sums[:, 0] - self.value * self.sums[:, 1]) / self.rows)

    def deviations(self, counts: np.ndarray) -> np.ndarray:
        """Compute resampled aggregates minus the value; for a mean, to first order in the
        weights.
        """
        weights = counts.astype(float)
        return self.of(weights @ self.sums) - self.unbounded if self.macro else weights @ self.pulls

    @cached_property
    def replicates(self) -> np.ndarray:
        """Compute (BATCHES, RESAMPLES) deviations. Samples from the same number of units have the
        same resamples.
        """
        columns = np.searchsorted(self.part_of, self.names) if self.part_of else slice(None)
        draws = resamples(len(self.part_of) or self.units, self.key)
        return np.stack([self.deviations(weights[:, columns]) for weights in draws])


@cache
def resamples(units: int, key: int) -> list[np.ndarray]:
    """Yield BATCHES times the multinomial weights (RESAMPLES, units) of a bootstrap."""
    draws = []
    for batch in range(BATCHES):
        random = np.random.default_rng([SEED, key, batch])
        draws.append(
            random.multinomial(units, np.full(units, 1 / units), RESAMPLES).astype(np.uint8)
        )
    return draws


def sample_rows(rows: Sequence[Json], scorer: Scorer | None = None, key: int = 0) -> Sample:
    """Build a sample of rows: without a scorer a mean of scores, with one macro-F1."""
    if scorer and scorer.questions:
        split = zip(*map(scorer.split_row, rows), strict=True)
        samples = tuple(
            sample_rows([row for _, row in question], select_aggregate(question[0][0]), key)
            for question in split
        )
        scores = np.array([row["score"] for row in rows], dtype=float)
        sums = np.hstack([sample.sums for sample in samples])
        return replace(
            samples[0], sums=sums, scores=scores, macro=True, scores_on_scale=0, questions=samples
        )
    names = tuple(sorted({row["unit"] for row in rows}))
    index = {name: i for i, name in enumerate(names)}
    units = np.array([index[row["unit"]] for row in rows])
    scores = np.array([row["score"] for row in rows], dtype=float)
    size = len(scorer.scale) if scorer and scorer.metric == "kappa" else 0
    if scorer is None:
        columns = np.column_stack([scores, np.ones(len(rows))])
    else:
        columns = build_score_tables(rows, scorer) if size else build_label_sums(rows, scorer)
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, units, columns)
    return Sample(sums, names, scores, scorer is not None, key, size)


def select_aggregate(scorer: Scorer) -> Scorer | None:
    """Return the scorer if its metric is not a mean over rows."""
    return scorer if scorer.metric in AGGREGATES else None


def build_label_sums(rows: Sequence[Json], scorer: Scorer) -> np.ndarray:
    """Build (rows, 3C): right, predicted and expected for each of the C labels that at least one
    row expects; for micro-F1 (rows, 3): their numbers over all labels.
    """
    if scorer.metric == "value_f1":
        answers = [row["answer"] if row["score"] < 1 else row["expected"] for row in rows]
        pairs = zip(answers, (row["expected"] for row in rows), strict=True)
        return np.array([count_hits(answer, [expected]) for answer, expected in pairs], float)
    if scorer.several:
        right = [read_list(row["expected"]) for row in rows]
        answers = [scorer.list_labels(row) for row in rows]
    else:
        right = [{row["expected"]} for row in rows]
        answers = [{scorer.predict(row)} for row in rows]
    # An answer that is right by another right output of the row counts as the first.
    guesses = [a if row["score"] < 1 else r for row, a, r in zip(rows, answers, right, strict=True)]
    if scorer.metric == "micro_f1":
        return np.array(
            [[len(r & g), len(g), len(r)] for r, g in zip(right, guesses, strict=True)], float
        )
    labels = sorted(set().union(*right))
    expected = np.array([[label in wanted for label in labels] for wanted in right])
    predicted = np.array([[label in guess for label in labels] for guess in guesses])
    return np.hstack([expected & predicted, predicted, expected]).astype(float)


def build_score_tables(rows: Sequence[Json], scorer: Scorer) -> np.ndarray:
    """Build (rows, K * K): 1 at the expected and the answered score. An answer that is another
    right score of the row counts as the first.
    """
    tables = np.zeros((len(rows), len(scorer.scale), len(scorer.scale)))
    for table, row in zip(tables, rows, strict=True):
        expected = scorer.scale.index(row["expected"])
        table[expected, expected if row["score"] == 1 else scorer.place(row, row["expected"])] = 1
    return tables.reshape(len(rows), -1)


def build_sample(scorer: Scorer, lines: Mapping[str, Json], key: int = 0) -> Sample:
    """Build the sample of some rows under the headline metric; `key` seeds its resamples."""
    return sample_rows([lines[name] for name in sorted(lines)], select_aggregate(scorer), key)


@dataclass(frozen=True)
class Recomputed:
    """A recomputed number: one value for each batch of resamples, or a single one."""

    values: np.ndarray

    @property
    def mean(self) -> float:
        """The recomputed number."""
        return float(self.values.mean())

    @property
    def allowed(self) -> float:
        """The allowed difference of one more bootstrap from the mean; CLOSED if nothing is
        resampled.
        """
        num = self.values.size
        if num == 1:
            return CLOSED
        reach = float(stats.t.ppf(1 - RARE / 2, num - 1))
        return CLOSED + reach * float(self.values.std(ddof=1)) * math.sqrt(1 + 1 / num)

    def check(self, label: str, stored: float | None) -> Check:
        """Compare with a stored number."""
        return Check(label, stored, self.mean, self.allowed)


def student(units: float, z: Any = Z) -> Any:
    """Student's quantile for units - 1, at least 1, at the level of the normal quantile z."""
    t = stats.t.ppf(stats.norm.cdf(z), max(units - 1, 1.0))
    return t if units > 1 else np.full_like(z, np.inf, dtype=float)


def wilson(share: Any, n: Any, z: Any = Z) -> tuple[Any, Any]:
    """Compute Wilson's score interval (1927); n may be fractional."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def estimate(sample: Sample) -> tuple[Recomputed, Recomputed]:
    """Compute the bounds of a sample's own 95% interval.

    Ungrouped rows that are right or wrong have Wilson's interval. Otherwise, Wilson's interval has
    the number of rows that would give the bootstrap's standard error, and Student's quantile; if no
    unit differs, or the value is 0 or 1, it has one row per unit. Kappa has a normal interval on
    Fisher's z scale. Only macro-F1 and kappa are resampled.
    """
    value = min(max(sample.value, 0.0), 1.0)
    units = sample.units
    if sample.binary:
        low, high = wilson(value, sample.rows)
        return Recomputed(np.array([low])), Recomputed(np.array([high]))
    if units == 1:
        return Recomputed(np.zeros(1)), Recomputed(np.ones(1))
    spread = sample.replicates.var(axis=1) if sample.macro else np.array([(sample.pulls**2).sum()])
    variance = spread * units / (units - 1)
    nothing = (variance <= EQUAL**2) | (value in (0, 1))
    if sample.scores_on_scale and not nothing.any() and abs(sample.unbounded) < 1 - EQUAL:
        # Fisher's z with the standard error of the delta method, cut at 0.
        z = np.arctanh(sample.unbounded)
        reach = student(units) * np.sqrt(variance) / (1 - sample.unbounded**2)
        if (np.tanh(z + reach) > EQUAL).all():
            return Recomputed(np.maximum(np.tanh(z - reach), 0)), Recomputed(np.tanh(z + reach))
    rows = np.where(nothing, units, value * (1 - value) / np.where(nothing, 1, variance))
    low, high = wilson(value, np.maximum(rows, 1e-12), float(student(units)))
    return Recomputed(low), Recomputed(high)


def check_estimate(label: str, stored: Json, sample: Sample) -> Iterator[Check]:
    """Check value, bounds and n of one estimate."""
    low, high = estimate(sample)
    yield Check(f"{label}: value", stored["value"], sample.value, CLOSED)
    yield low.check(f"{label}: low", stored["low"])
    yield high.check(f"{label}: high", stored["high"])
    yield Check(f"{label}: n", stored["n"], sample.units)


# Two methods on the same rows


def newcombe(right: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Compute the interval of the difference of paired shares, right - other (Newcombe 1998,
    Statistics in Medicine 17, 2635, method 10).
    """
    n = len(right)
    e = int((right * other).sum())
    f = int((right * (1 - other)).sum())
    g = int(((1 - right) * other).sum())
    h = n - e - f - g
    (low1, up1) = wilson((e + f) / n, n)
    (low2, up2) = wilson((e + g) / n, n)
    product = (e + f) * (g + h) * (e + g) * (f + h)
    cross = e * h - f * g
    cross = max(cross - n / 2, 0) if cross > 0 else cross
    phi = cross / math.sqrt(product) if product else 0.0
    below1 = (e + f) / n - low1
    above1 = up1 - (e + f) / n
    below2 = (e + g) / n - low2
    above2 = up2 - (e + g) / n
    down = math.sqrt(max(below1**2 - 2 * phi * below1 * above2 + above2**2, 0))
    up = math.sqrt(max(above1**2 - 2 * phi * above1 * below2 + below2**2, 0))
    return (f - g) / n - down, (f - g) / n + up


@dataclass(frozen=True)
class Difference:
    """a - b: its standard error with a floor, and the skewness to each side; per batch if
    resampled.
    """

    value: float
    units: int
    error: np.ndarray
    tilt_up: np.ndarray
    tilt_down: np.ndarray

    def bounds(self, critical: Any) -> tuple[Recomputed, Recomputed]:
        """Compute the ends of the interval within -1 to 1; x solves x² = critical² (error² + tilt
        x).
        """
        if self.units == 1:
            return Recomputed(-np.ones(1)), Recomputed(np.ones(1))
        up, down = (root(critical, self.error, tilt) for tilt in (self.tilt_up, self.tilt_down))
        ends = np.maximum(self.value - down, -1), np.minimum(self.value + up, 1)
        return Recomputed(np.atleast_1d(ends[0])), Recomputed(np.atleast_1d(ends[1]))


def root(critical: Any, error: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Compute the positive x with x² = critical² (error² + tilt x)."""
    half = critical**2 * tilt / 2
    return np.asarray(half + np.sqrt(half**2 + critical**2 * error**2))


def difference(a: Sample, b: Sample) -> Difference:
    """Compute the moments of a - b over units, with one unit's difference as the floor.

    e² is the variance of the jackknife and m3 the third moment. L is the largest average difference
    of a unit's rows (1 if no unit differs) times the root mean square of the units' sizes, as part
    of the mean (1 / G for macro-F1). Then the standard error is max(e, L), and the slopes of the
    variance are max(m3 / e², L³ / (e² + L²)) upwards and the same with -m3 downwards.
    """
    G = a.units
    if a.macro:
        deviations = a.replicates - b.replicates
        deviations = deviations - deviations.mean(axis=1, keepdims=True)
        second = (deviations**2).mean(axis=1)
        third = (deviations**3).mean(axis=1)
    else:
        shares = a.sums[:, 1] / a.sums[:, 1].sum()
        scale = (
            (1 - 1 / G) / (1 - shares) if G > 1 else 1.0
        )  # the jackknife over units of unequal size
        pulls = (a.pulls - b.pulls) * scale
        second = np.array([(pulls**2).sum()])
        third = np.array([(pulls**3).sum()])
    squared = second * G / (G - 1) if G > 1 else second
    one_unit = largest_unit(a, b)
    skew = np.divide(third, squared, out=np.zeros_like(squared), where=squared > 1e-20)
    min_tilt = one_unit**3 / (squared + one_unit**2)
    error = np.maximum(np.sqrt(squared), one_unit)
    return Difference(
        a.value - b.value, G, error, np.maximum(skew, min_tilt), np.maximum(-skew, min_tilt)
    )


def largest_unit(a: Sample, b: Sample) -> float:
    """Compute L of `difference`."""
    if a.macro:
        return 1 / a.units
    sizes = a.sums[:, 1]
    largest = float((np.abs(a.sums[:, 0] - b.sums[:, 0]) / sizes).max())
    size = math.sqrt(float((sizes**2).mean())) / float(sizes.sum())
    return (largest if largest > EQUAL else 1.0) * size


def exact_flips(diffs: np.ndarray) -> float:
    """Compute P(|sum of ± diffs| >= observed) for whole numbers, from the distribution of the
    sum.
    """
    sums = Counter({0: 1})
    for size in np.abs(diffs).astype(int):
        totals = {total + sign * size for total in sums for sign in (1, -1)}
        sums = Counter({total: sums[total - size] + sums[total + size] for total in totals})
    observed = abs(int(diffs.sum()))
    return sum(ways for total, ways in sums.items() if abs(total) >= observed) / sum(sums.values())


def flipped(a: Sample, b: Sample, signs: np.ndarray) -> np.ndarray:
    """Compute |a - b| after swapping both in the units whose sign is -1; (P, G) to (P,)."""
    middle = (a.sums + b.sums).sum(axis=0) / 2
    half = (a.sums - b.sums) / 2
    turned = signs @ half
    return np.asarray(np.abs(a.of(middle + turned) - b.of(middle - turned)))


def p_value(a: Sample, b: Sample) -> Recomputed:
    """Compute the two-sided p-value of "swapping both in any unit changes nothing"; resampled if
    necessary.
    """
    diffs = a.sums[:, 0] - b.sums[:, 0]
    if a.binary and b.binary:
        gains = int((diffs > 0).sum())
        losses = int((diffs < 0).sum())
        p = stats.binomtest(gains, gains + losses).pvalue if gains + losses else 1.0
        return Recomputed(np.array([p]))
    if not a.macro and np.allclose(diffs, np.round(diffs), atol=1e-9):
        return Recomputed(np.array([exact_flips(np.round(diffs))]))
    differ = np.flatnonzero((a.sums != b.sums).any(axis=1))
    signs = np.ones((1, a.units))
    observed = float(flipped(a, b, signs)[0]) - 1e-12
    if len(differ) <= 12:
        signs = np.ones((2 ** len(differ), a.units))
        signs[:, differ] = list(itertools.product((1, -1), repeat=len(differ)))
        return Recomputed(np.array([float((flipped(a, b, signs) >= observed).mean())]))
    values = []
    for batch in range(
        BATCHES
    ):  # as many random patterns as for the stored p, and the observed pattern
        signs = np.random.default_rng([SEED, 99, batch]).choice(
            np.array([-1.0, 1.0]), (PATTERNS, a.units)
        )
        values.append((1 + (flipped(a, b, signs) >= observed).sum()) / (PATTERNS + 1))
    return Recomputed(np.array(values))


def check_p(p: Recomputed, stored: float) -> Check:
    """Compare two p-values. A random one may be anywhere between the binomial quantiles of the
    level RARE.
    """
    if p.values.size == 1:
        # A sum of many terms is exact to about 1e-15; below that, only that both are this small can
        # agree.
        return Check("headline: p", stored, p.mean, max(CLOSED * abs(p.mean), 1e-15))
    true = min(p.mean + 5 * float(p.values.std()) / math.sqrt(BATCHES) + 1 / PATTERNS, 1.0)
    ends = stats.binom.ppf([RARE / 2, 1 - RARE / 2], PATTERNS, true)
    ends[0] = stats.binom.ppf(RARE / 2, PATTERNS, max(2 * p.mean - true, 0))
    return Check(
        "headline: p", stored, p.mean, float(np.abs((ends + 1) / (PATTERNS + 1) - p.mean).max())
    )


# Choices on dev


def choose(samples: Mapping[str, Sample], margin: float) -> str | None:
    """Return the first (simplest) candidate whose paired difference to the best is surely above
    minus the margin, else the best; of equal ones the first.
    """
    names = list(samples)
    if not names:
        return None
    best = max(names, key=lambda name: (round(samples[name].value, DIGITS), -names.index(name)))
    simpler = names[: names.index(best)]
    near = [
        name for name in simpler if paired_interval(samples[name], samples[best])[0].mean > -margin
    ]
    return next(iter(near), best)


def paired_interval(a: Sample, b: Sample) -> tuple[Recomputed, Recomputed]:
    """Compute the ends of the 95% interval of a - b."""
    if a.binary and b.binary:
        low, high = (Recomputed(np.array([end])) for end in newcombe(a.sums[:, 0], b.sums[:, 0]))
        return low, high
    low, high = difference(a, b).bounds(student(a.effective_units))
    if a.units < a.rows and not a.macro:  # grouped rows: no wider than the two intervals allow
        (low_a, high_a) = estimate(a)
        (low_b, high_b) = estimate(b)
        low = Recomputed(np.maximum(low.values, low_a.mean - high_b.mean))
        high = Recomputed(np.minimum(high.values, high_a.mean - low_b.mean))
    return low, high


def count_hits(answer: str, outputs: Sequence[str]) -> tuple[int, int, int]:
    """Count the values that are right, answered and expected, against the most similar right
    output.
    """
    answered = list_values(answer)
    rights = map(list_values, outputs)
    hits = [((answered & right).total(), answered.total(), right.total()) for right in rights]
    return max(hits, key=lambda hit: 2 * hit[0] - hit[2])


def value_f1(answer: str, outputs: Sequence[str]) -> float:
    """F1 over the values of one row; 1 without any."""
    right, answered, expected = count_hits(answer, outputs)
    return 2 * right / (answered + expected) if answered + expected else 1.0


def list_values(text: str) -> Counter[str]:
    """Count the values of a JSON text, each with the keys that lead to it; null and "" are no
    values.
    """
    values: Counter[str] = Counter()

    def add(value: Any, path: str, is_item: bool = False) -> None:
        if isinstance(value, dict) and not is_item:
            for key, inner in value.items():
                add(inner, f"{path}.{key}")
        elif isinstance(value, list) and not is_item:
            for item in value:
                add(item, path, is_item=True)
        elif value is not None and (is_item or value != ""):
            number = int(value) if isinstance(value, float) and value.is_integer() else value
            values[f"{path}={json.dumps(number, sort_keys=True)}"] += 1

    with suppress(ValueError):
        add(parse_json(text), "")
    return values


def check_dev(run: Run, scorer: Scorer) -> Iterator[Check]:
    """Check the pair that was chosen on dev, and the candidates of every method."""
    for side, tuned in (("untuned", False), ("tuned", True)):
        group = [m for m in run.methods if bool(m.info["tuned"]) is tuned and m.sides["dev"]]
        # A method that another beat while it answered is not compared any more, unless all are
        # beaten.
        group = [m for m in group if not m.info.get("raced_out")] or group
        ids = set.intersection(*(set(m.sides["dev"]) for m in group)) if group else set()
        lines = {m.name: {key: m.sides["dev"][key] for key in ids} for m in group}
        candidates = {name: build_sample(scorer, rows, 1) for name, rows in lines.items()}
        best = choose(candidates, run.info["margin"])
        yield Check(f"decided on dev: {side}", run.info["decided"][side], best)
    for method in run.methods:
        yield from check_candidates(run, scorer, method)


def check_candidates(run: Run, scorer: Scorer, method: Method) -> Iterator[Check]:
    """Check the dev estimate of every candidate, and the choice among them."""
    candidates = method.info["candidates"]
    samples = {name: build_sample(scorer, lines, 1) for name, lines in method.tried.items()}
    yield Check(
        f"{method.name}: candidates", [candidate["name"] for candidate in candidates], list(samples)
    )
    for candidate in candidates:
        if candidate["name"] in samples:
            sample = samples[candidate["name"]]
            yield from check_estimate(
                f"{method.name}: dev, {candidate['name']}", candidate["dev"], sample
            )
    num_rows = max((len(lines) for lines in method.tried.values()), default=0)
    in_race = {
        name: samples[name] for name, lines in method.tried.items() if len(lines) == num_rows
    }
    if method.held_out:
        in_race = {name: build_sample(scorer, lines, 1) for name, lines in method.held_out.items()}
    best = choose(in_race, run.info["margin"])
    chosen = [candidate["name"] for candidate in candidates if candidate["is_chosen"]]
    yield Check(f"{method.name}: chosen on dev", chosen, [best] if best is not None else [])
    if best is not None:
        dev = method.sides["dev"]
        tried = method.tried[best]
        same = sum(dev.get(key) == line for key, line in tried.items())
        yield Check(
            f"{method.name}: dev rows as the chosen candidate answered them", len(dev), same
        )


# The verdict


@dataclass(frozen=True)
class Ladder:
    """The methods that are compared on the test; ordered pairs on the rows of both, and their
    differences.
    """

    samples: Mapping[str, Sample]
    beaten: Mapping[str, Sample]
    """The samples of methods that are not compared on the test."""
    pairs: Mapping[tuple[str, str], tuple[Sample, Sample]]
    differences: Mapping[tuple[str, str], Difference]

    def check_critical(self, stored: float | None) -> Check:
        """Check the 95% quantile of the largest |t| over pairs, raised for few units.

        The quantile of one bootstrap lies between two quantiles of all batches together, whose
        levels are those of an order statistic (Beta), whatever the distribution. This also holds
        where the quantile is raised to the lowest.
        """
        units = min((a.units for a, _ in self.pairs.values()), default=2)
        if not self.differences:
            units = next(iter(self.samples.values())).units
        lowest = float(student(units))
        if not self.differences:
            return Check("critical value", stored, lowest, CLOSED)
        ts = [
            np.abs(self.pairs[pair][0].replicates - self.pairs[pair][1].replicates)
            / self.differences[pair].error[:, None]
            for pair in itertools.combinations(self.samples, 2)
        ]
        rank = LEVEL * RESAMPLES
        ends = np.array([RARE / 2, 0.5, 1 - RARE / 2])
        levels = stats.beta.ppf(ends, rank, RESAMPLES + 1 - rank)
        levels = np.minimum(LEVEL + (levels - LEVEL) * math.sqrt(1 + 1 / BATCHES), 1.0)
        quantiles = np.quantile(np.max(ts, axis=0), levels)
        low, middle, high = np.maximum(student(units, quantiles), lowest)
        allowed = CLOSED + float(max(high - middle, middle - low))
        return Check("critical value", stored, float(middle), allowed)


def build_ladder(run: Run, scorer: Scorer) -> Ladder:
    """Build the methods' test samples, and a - b for every ordered pair."""
    lines = {m.name: m.sides["test"] for m in run.methods}
    samples = {name: build_sample(scorer, rows) for name, rows in lines.items()}
    units = max((sample.names for sample in samples.values()), key=len)
    pairs = {}
    beaten = {name: samples.pop(name) for name in [*samples] if name in run.beaten}
    for a, b in itertools.permutations(samples, 2):
        ids = lines[a].keys() & lines[b].keys()
        first, second = (build_sample(scorer, {key: lines[x][key] for key in ids}) for x in (a, b))
        pairs[a, b] = replace(first, part_of=units), replace(second, part_of=units)
    return Ladder(
        samples, beaten, pairs, {names: difference(*pair) for names, pair in pairs.items()}
    )


def check_headline(run: Run, ladder: Ladder) -> Iterator[Check]:
    """Check the comparison declared in advance."""
    stored = run.verdict["headline"]
    tuned = run.info["decided"]["tuned"]
    untuned = run.info["decided"]["untuned"]
    if stored is None or tuned is None or untuned is None:
        yield Check(
            "headline: present", stored is not None, tuned is not None and untuned is not None
        )
        return
    yield Check("headline: tuned", stored["tuned"], tuned)
    yield Check("headline: untuned", stored["untuned"], untuned)
    gap = stored["difference"]
    gains = gap["low"] > 0 and stored["p"] <= 0.05 and not run.has_too_few_rows
    yield Check("headline: gains", stored["gains"], gains)
    a, b = ladder.pairs[tuned, untuned]
    test = "exact McNemar" if a.binary and b.binary else "swaps" if a.macro else "sign flips"
    low, high = paired_interval(a, b)
    yield Check("headline: value", gap["value"], a.value - b.value, CLOSED)
    yield low.check("headline: low", gap["low"])
    yield high.check("headline: high", gap["high"])
    yield Check("headline: n", gap["n"], a.units)
    yield Check("headline: test", stored["test"], test)
    yield check_p(p_value(a, b), stored["p"])


def check_pairs(run: Run, ladder: Ladder) -> Iterator[Check]:
    """Check the simultaneous intervals, with the stored critical value."""
    stored = run.verdict["critical"]
    yield ladder.check_critical(stored)
    names = [(pair["a"], pair["b"]) for pair in run.verdict["pairs"]]
    yield Check("pairs: which", names, list(itertools.combinations(ladder.samples, 2)))
    for pair in run.verdict["pairs"]:
        gap = ladder.differences[pair["a"], pair["b"]]
        stored_gap = pair["difference"]
        label = f"{pair['a']} - {pair['b']}"
        yield Check(f"{label}: value", stored_gap["value"], gap.value, CLOSED)
        yield Check(f"{label}: n", stored_gap["n"], gap.units)
        ends = gap.bounds(math.inf if stored is None else stored)
        for name, end in zip(("low", "high"), ends, strict=True):
            yield end.check(f"{label}: {name}", stored_gap[name])


def decide_status(run: Run, name: str, without: Iterable[str] = ()) -> str:
    """Decide from the stored bounds against every other method, except some: among the best, worse
    or undecided.
    """
    bounds = []
    for pair in run.verdict["pairs"]:
        if not {pair["a"], pair["b"]} & {*without}:
            low = pair["difference"]["low"]
            high = pair["difference"]["high"]
            bounds += (
                [(low, high)] if pair["a"] == name else [(-high, -low)] if pair["b"] == name else []
            )
    margin = run.info["margin"]
    if bounds and all(low > -margin for low, _ in bounds):
        return "among the best"
    if not bounds and run.beaten:
        return "among the best"  # all others were beaten on dev
    return "worse" if any(high < -margin for _, high in bounds) else "undecided"


def count_rows_to_decide(
    run: Run, ladder: Ladder, name: str, rivals: Iterable[str]
) -> Recomputed | None:
    """Compute N = n ((c + 0.84) SE / |m + d|)², where d is the difference to the best other one of
    the rivals; above n, and None above 100,000.
    """
    others = [other for other in rivals if other != name]
    if not others:
        return None
    rival = min(others, key=lambda other: ladder.differences[name, other].value)
    gap = ladder.differences[name, rival]
    distance = abs(run.info["margin"] + gap.value)
    if distance < 1e-12:
        return None
    critical = run.verdict["critical"]
    num_rows = ladder.pairs[name, rival][0].rows
    rows = np.ceil(num_rows * ((critical + Z_POWER) * gap.error / distance) ** 2 - 1e-9)
    rows = np.maximum(rows, num_rows + 1)
    return None if rows.mean() > MAX_ROWS else Recomputed(rows)


def check_ladder(run: Run, scorer: Scorer, ladder: Ladder) -> Iterator[Check]:
    """Check each method's estimate, status and rows to decide, and the decision."""
    values = {name: sample.value for name, sample in ladder.samples.items()}
    own = [method.name for method in run.own if method.name not in run.beaten]
    names = [name for name in own if name not in run.copying] or own
    is_open = run.has_too_few_rows or not any(values[name] for name in names)
    statuses = {}
    for row in run.verdict["ladder"]:
        name = row["method"]
        if name in ladder.beaten:
            yield from check_estimate(name, row["estimate"], ladder.beaten[name])
            status = "not measured enough" if name in run.partly_trained else "worse on dev"
            yield Check(f"{name}: status", row["status"], status)
            continue
        yield from check_estimate(name, row["estimate"], ladder.samples[name])
        rivals = names if name in names else list(values)
        status = "undecided" if is_open else decide_status(run, name, set(values) - set(rivals))
        is_part = name in run.partly_trained and status != "among the best"
        statuses[name] = "not measured enough" if is_part and not is_open else status
        yield Check(f"{name}: status", row["status"], statuses[name])
        is_countable = not is_open and not is_part and status == "undecided"
        rows = count_rows_to_decide(run, ladder, name, rivals) if is_countable else None
        label = f"{name}: rows to decide"
        stored = row["rows_to_decide"]
        yield Check(label, stored, None) if rows is None else rows.check(label, stored)
    if run.task.get("costs"):
        yield from check_costs(run)
        return
    yield from check_most_frequent(run, scorer)
    method, basis = decide(run, scorer, names, {name: statuses[name] for name in names}, values)
    yield Check("basis", run.verdict["basis"], basis)
    yield Check("leaning", run.verdict["leaning"], method)
    is_reason = basis in ("among the best", "not beaten", "alone")
    yield Check("recommended", run.verdict["recommended"], method if is_reason else None)


def score_most_frequent(run: Run, scorer: Scorer, ids: Iterable[str]) -> Sample | None:
    """Score the most frequent training answer, as the verdict states it, on some test rows."""
    stored = run.verdict["most_frequent"]
    if stored is None:
        return None
    rows = {key: line for method in run.own for key, line in method.sides["test"].items()}
    lines = {key: {**rows[key], "answer": stored["answer"], "value": None} for key in ids}
    return build_sample(
        scorer, {key: {**line, "score": scorer.score(line)["score"]} for key, line in lines.items()}
    )


def check_most_frequent(run: Run, scorer: Scorer) -> Iterator[Check]:
    """Check what the most frequent answer would score on all rows that were answered."""
    longest = max((method.sides["test"] for method in run.own), key=len)
    if (sample := score_most_frequent(run, scorer, longest)) is not None:
        yield from check_estimate(
            "most frequent answer", run.verdict["most_frequent"]["estimate"], sample
        )


def decide(
    run: Run,
    scorer: Scorer,
    names: Sequence[str],
    statuses: Mapping[str, str],
    values: Mapping[str, float],
) -> tuple[str, str]:
    """Decide which of the methods `names`, which may be recommended, is used, and why."""
    tests = {method.name: method.sides["test"] for method in run.own}
    better = set()  # pairs: the first is shown to be better, and not surely within the margin
    for pair in run.verdict["pairs"]:
        low = pair["difference"]["low"]
        high = pair["difference"]["high"]
        better |= {(pair["a"], pair["b"])} if low > 0 and high > run.info["margin"] else set()
        better |= {(pair["b"], pair["a"])} if high < 0 and -low > run.info["margin"] else set()
    headline = run.verdict["headline"]
    if headline and headline["gains"] and headline["difference"]["high"] > run.info["margin"]:
        better.add((headline["tuned"], headline["untuned"]))
    better = {(a, b) for a, b in better if a in names and b in names}
    useful = {}
    for name in names:
        sample = score_most_frequent(run, scorer, tests[name])
        useful[name] = sample is None or values[name] > sample.value
    best = max(names, key=lambda name: (values[name], -names.index(name)))
    today = find_unbeaten(tests, names, better, dict.fromkeys(names, True)) or best
    if run.has_too_few_rows:
        return today, "few rows"
    if not set(names) - run.copying:
        writers = [name for name in tests if name not in run.copying]
        return max(writers, key=lambda name: len(tests[name]), default=today), "copies"
    if not any(values[name] for name in names):
        return today, "nothing right"
    for name in names:
        if useful[name] and statuses[name] == "among the best":
            return name, "among the best"
    chosen = find_unbeaten(tests, names, better, useful)
    return (
        (chosen, "alone" if len(names) == 1 else "not beaten") if chosen else (today, "one answer")
    )


def find_unbeaten(
    tests: Mapping[str, Any],
    names: Sequence[str],
    better: set[tuple[str, str]],
    useful: Mapping[str, bool],
) -> str | None:
    """Find the simplest method that no other is shown to beat, of those that answered at least half
    as many rows as any; only if there is none, of those with fewer rows that are shown to beat one
    of them.
    """
    others = [*names]
    while others:
        most = max(len(tests[name]) for name in others)
        measured = [name for name in others if 2 * len(tests[name]) >= most]
        for name in measured:
            if useful[name] and not any((other, name) in better for other in names):
                return name
        others = [
            n for n in others if n not in measured and any((n, m) in better for m in measured)
        ]
    return None


def check_costs(run: Run) -> Iterator[Check]:
    """Check what a question costs with each method, and that the verdict leans to the cheapest."""
    costs = run.task["costs"]
    stored = run.verdict["error_costs"]
    prices = {str(label): float(price) for label, price in (costs.get("labels") or {}).items()}
    means = {}

    def pay(line: Json) -> float:
        label = line["value"] if isinstance(line["value"], str) else line["answer"]
        wrong = prices.get(label.strip(), float(costs.get("wrong", 1)))
        return (
            float(costs["handover"])
            if line.get("handed_over")
            else wrong
            if line["score"] < 1
            else 0.0
        )

    for method in run.own:
        means[method.name] = float(np.mean([pay(line) for line in method.sides["test"].values()]))
        value = stored["methods"][method.name]["cost"]["value"]
        yield Check(f"{method.name}: cost of a question", value, means[method.name], CLOSED)
    if len({len(method.sides["test"]) for method in run.own}) == 1:
        yield Check("leaning, by cost", means[run.verdict["leaning"]], min(means.values()), CLOSED)
    recommended = None if run.has_too_few_rows else stored["cheapest"]
    yield Check("recommended, by cost", run.verdict["recommended"], recommended)


def check_test_rows(run: Run) -> Iterator[Check]:
    """Check that each method answered the first rows of the same order, in the number that the run
    has stored.
    """
    stored = run.verdict["test_rows"]
    ids = {m.name: list(m.sides["test"]) for m in run.own}
    longest = max(ids.values(), key=len)
    is_nested = all(set(rows) == set(longest[: len(rows)]) for rows in ids.values())
    yield Check("test rows: the first ones of one order", True, is_nested)
    yield Check("test rows: answered", stored["answered"], len(longest))
    yield Check(
        "test rows: in all", stored["total"], len(read_json(run.folder / "split.json")["test"])
    )
    counts = {name: len(rows) for name, rows in ids.items()}
    yield Check("test rows: of each method", run.info["test_answered"], counts)


def check_run(run: Run, scorer: Scorer) -> Iterator[Check]:
    """Recompute and compare everything."""
    for method in run.methods:
        rows = [*method.sides["dev"].values(), *method.sides["test"].values()]
        yield from check_scores(method.name, rows, scorer)
        tried = [row for lines in method.tried.values() for row in lines.values()]
        yield from check_scores(f"{method.name}, candidates", tried, scorer)
    yield from check_dev(run, scorer)
    ladder = build_ladder(run, scorer)
    yield from check_headline(run, ladder)
    yield from check_ladder(run, scorer, ladder)
    yield from check_pairs(run, ladder)
    yield from check_test_rows(run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a run; return 1 if a value does not agree."""
    parser = argparse.ArgumentParser(description="Recompute the numbers of a run folder.")
    parser.add_argument("run", type=Path, help="a complete run folder")
    parser.add_argument("--check-file", type=Path, help="the file of the task's check function")
    options = parser.parse_args(arguments)
    run = read_run(options.run)
    scorer = build_scorer(
        run.info["metric"], read_contract(run), load_check(run, options.check_file)
    )
    checks = list(check_run(run, scorer))
    print_table(checks)
    return int(not all(check.is_ok for check in checks))


if __name__ == "__main__":
    sys.exit(main())
