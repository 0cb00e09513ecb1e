"""Task files: every key read, every path found, checks loaded on request only."""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.base.formatting import format_defaults, format_setting
from etude.base.issues import find_nearest
from etude.comparison.costs import compute_request_price
from etude.errors import InputError
from etude.task import (
    METHOD_NAMES,
    CheckRef,
    Endpoint,
    JudgeSettings,
    Prices,
    RowSource,
    Task,
    Usage,
    load_task,
    parse_duration,
)
from etude.task.rules import number
from etude.task.settings import DATA_SETTINGS, RENAMED, SETTINGS
from etude.training import TrainConfig, auto_config
from etude.types import Example, Message, PricedCost

WHOLE = """\
name: luma
kind: answer
model: smollm2-135m-instruct
prompt_model: bigger
examples: {file: rows.csv, input: [subject, body], output: reply, references: other,
  group: customer, tags: [theme, age]}
test: test.csv
documents: catalogue/
instructions: |
  You are Luma.
  Be kind.
wordings: [Be brief., Be warm.]
contract:
  fields: [Title, yes, "Gentle note?"]
  max_words: 60
  must_contain: [2024]
check: checks.py:fits
metric: passes
methods: [few_shot, baseline]
margin: 0.03
target: 0.95
budget: 1h30m
usage: {requests_per_month: 20_000, facts_change: monthly}
prices: {prompt: 0.15, per_hour: 1e-1}
seed: 7
train: {rank: 8, learning_rate: 1e-4, patience: 3}
max_tokens: 200
evidence: full
judge: {endpoint: http://localhost:1/v1, model: m, rubric: It is kind., labels: rows.jsonl}
"""
EXAMPLE = Example("r1", (Message("user", "hi"),), "hello", location="rows.csv:2")


REQUIRED = "kind: classify\nmodel: m\nexamples: rows.csv\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("rows.csv", "test.csv", "rows.jsonl"):
        (tmp_path / name).write_text("x")
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "checks.py").write_text(
        "def fits(example, answer):\n    return answer == example.output\n"
    )
    return tmp_path


def read(folder: Path, text: str) -> Task:
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    return load_task(folder / "task.yaml")


def test_every_key_of_the_schema_is_read(folder: Path) -> None:
    task = read(folder, WHOLE)
    others = {"references": ("other",), "group": "customer", "tags": ("theme", "age")}
    columns = RowSource(folder / "rows.csv", ("subject", "body"), "reply", **others)
    assert task.examples == columns
    assert task.test == RowSource(folder / "test.csv", *list(vars(columns).values())[1:])
    assert task.instructions == "You are Luma.\nBe kind."
    assert task.contract.fields == ("Title", "yes", "Gentle note?")
    assert task.contract.must_contain == ("2024",)
    assert task.check == CheckRef(folder / "checks.py", "fits")
    assert task.methods == ("baseline", "few_shot")
    assert (task.margin, task.target, task.seed, task.max_tokens) == (0.03, 0.95, 7, 200)
    assert task.budget_seconds == 5400
    assert task.usage == Usage(20_000, "monthly")
    assert task.prices == Prices(prompt=0.15, per_hour=0.1)
    assert task.train == {"rank": 8, "learning_rate": 1e-4, "patience": 3}
    assert task.evidence == "full"
    judge = Endpoint("http://localhost:1/v1", "m")
    assert task.judge == JudgeSettings(judge, "It is kind.", folder / "rows.jsonl")
    assert task.documents == folder / "catalogue"
    assert (task.folder, task.file) == (folder, folder / "task.yaml")


def test_a_short_task_has_the_defaults(folder: Path) -> None:
    task = read(folder, "kind: classify\nmodel: m\nexamples: rows.jsonl\n")
    assert task == load_task(folder)
    assert task.name == folder.name
    assert (task.methods, task.margin, task.seed, task.budget_seconds) == (
        METHOD_NAMES,
        0.02,
        0,
        None,
    )
    assert (task.contract, task.check, task.test, task.prices, task.notes) == (
        None,
        None,
        None,
        None,
        (),
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("targets: q_proj", "a list of names.*Write train.targets: .q_proj, v_proj."),
        ("targets: [q_proj, true]", r'a list of names \(got \["q_proj", true\]\)'),
        ("warmup: 6%", "Write train.warmup: 0.06"),
    ],
)
def test_settings_of_the_training_are_refused_by_their_line(
    folder: Path, setting: str, message: str
) -> None:
    with pytest.raises(InputError, match=f"task.yaml:4: train.*{message}"):
        read(folder, f"kind: classify\nmodel: m\nexamples: rows.jsonl\ntrain: {{{setting}}}\n")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("above", [False, True])
def test_a_number_is_taken_exactly_within_its_bounds(whole: bool, above: bool) -> None:
    rule = number(0, 2, whole=whole, above=above)
    left_out = {0: above, 0.5: whole}
    for value in (-1, 0, 0.5, 1, 2, 2.5, 10**30):
        taken = 0 <= value <= 2 and not left_out.get(value)
        assert (rule.check("here", "key", value) is None) == taken
        assert (rule.check("here", "key", str(value)) is None) == taken, (
            "YAML takes some numbers for texts"
        )
    for junk in (True, None, "x", [1], {}, math.inf, -math.inf, math.nan):
        assert rule.description in str(rule.check("here", "key", junk))


def test_every_setting_of_training_may_stand_in_a_task_file(folder: Path) -> None:
    given = {name: TrainConfig().to_dict()[name] for name in SETTINGS}
    given |= {"targets": ["q_proj"], "max_rows": 3}
    given |= {"instructions": "whole", "preference_loss": "kto", "beta": 0.2, "replay": 0.1}
    task = read(folder, REQUIRED + json.dumps({"train": given})[1:-1])
    assert set(given) == {*SETTINGS, *DATA_SETTINGS}
    assert task.train == {**given, "targets": ("q_proj",)}
    assert TrainConfig(**{name: task.train[name] for name in SETTINGS}).targets == ("q_proj",)


@given(
    rows=st.integers(1, 10**5),
    parameters=st.integers(10**6, 10**11),
    own=st.sampled_from([{}, {"rank": 7}, {"warmup": 1 / 3, "targets": ["o_proj"]}]),
)
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_settings_as_they_are_printed_may_be_written_back(
    folder: Path, rows: int, parameters: int, own: dict[str, Any]
) -> None:
    config = auto_config(rows, parameters, own)
    chosen = {name: value for name, value in config.to_dict().items() if name in config.reasons}
    for printed in (config.defaults, chosen, config.defaults | chosen):
        task = read(folder, REQUIRED + format_defaults(printed).replace("defaults", "train"))
        assert auto_config(rows, parameters, own | dict(task.train)) == config


@pytest.mark.parametrize("theirs", sorted(RENAMED))
def test_a_name_from_another_tool_is_answered_with_the_line_that_is_taken(
    folder: Path, theirs: str
) -> None:
    """From a task file, under train: and outside of it, and from Python; with the value where ours
    takes it.
    """
    ours = RENAMED[theirs]
    value: Any = {"targets": ["o_proj"], "dropout": 0.5}.get(ours, 1)
    for line in (
        f"train: {{{theirs}: {format_setting(value)}}}",
        f"{theirs}: {format_setting(value)}",
    ):
        with pytest.raises(InputError) as caught:
            read(folder, f"{REQUIRED}{line}\n")
        [issue] = caught.value.issues
        [remedy] = re.findall(r"[Ww]rite (\w+: (?:\[.*\]|[\w.]+))", issue.remedy)
        assert remedy == f"{ours}: {format_setting(value)}"
        assert read(folder, f"{REQUIRED}train: {{{remedy}}}\n").train
    if ours in SETTINGS:
        with pytest.raises(InputError, match=re.escape(f"Write {ours}:")):
            auto_config(100, 10**8, {theirs: value})
    with pytest.raises(InputError, match=rf"Write .* for (train\.)?{ours}"):
        read(folder, f"{REQUIRED}train: {{{theirs}: {{}}}}\n")


def test_warmup_steps_are_a_share_below_one_and_none_above(folder: Path) -> None:
    for steps, remedy in (("0.1", "Write warmup: 0.1."), ("10", "Write their share")):
        with pytest.raises(InputError, match=remedy):
            read(folder, f"{REQUIRED}train: {{warmup_steps: {steps}}}\n")


@pytest.mark.parametrize(
    "line",
    [
        *(f"train: {{weights: {word}}}" for word in ("full", "lora", "DoRA")),
        *("train: {method: qlora}", "train: {adapter: dora}", "train: {quantize: 4}"),
        *("train: {load_in_4bit: true}", "method: qlora", "quantization: 8bit"),
        *("methods: [qlora]", "methods: [lora]"),
    ],
)
def test_a_way_of_training_that_is_not_there_is_no_typing_error(folder: Path, line: str) -> None:
    with pytest.raises(InputError) as caught:
        read(folder, f"{REQUIRED}{line}\n")
    [issue] = caught.value.issues
    assert re.search("etude convert|weights: 4bit|write fine_tune", issue.remedy)


@pytest.mark.parametrize("as_left_out", ["targets: all", "max_rows: all"])
def test_a_word_for_the_default_says_the_same_as_nothing(folder: Path, as_left_out: str) -> None:
    assert read(folder, f"{REQUIRED}train: {{{as_left_out}}}\n") == read(folder, REQUIRED)
    name, word = as_left_out.split(": ")
    assert name not in SETTINGS or TrainConfig(**{name: word}) == TrainConfig()


def test_a_model_of_the_folder_is_found_from_anywhere(folder: Path) -> None:
    (folder / "base.gguf").write_bytes(b"")
    task = read(folder, "kind: classify\nmodel: base.gguf\nexamples: rows.jsonl\n")
    assert task.model == str(folder / "base.gguf")
    (folder / "own").mkdir()
    again = read(folder, "kind: classify\nmodel: own/../base.gguf\nexamples: rows.jsonl\n")
    assert again.model == task.model, "without the way to it"


def test_the_way_to_a_model_over_a_link_stays(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "inner").mkdir()
    (other / "base.gguf").write_bytes(b"")
    (folder / "link").symlink_to(other / "inner")
    task = read(folder, "kind: classify\nmodel: link/../base.gguf\nexamples: rows.jsonl\n")
    assert Path(task.model).samefile(other / "base.gguf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("kind: [", r"task\.yaml:1: not YAML.*got .kind: \["),
        ("kind: a\nkind: b\n", r"task\.yaml:2: the key 'kind' occurs twice, first on line 1"),
        ("- a\n- b\n", "must be a mapping"),
        ("kind: a\n---\nkind: b\n", "not YAML"),
        ("kind: &a x\nname: *a\n", "aliases are not supported"),
        ("<<: {kind: a}\n", "unknown key"),
        ("? [a, b]\n: c\n", "unknown key"),
        ("a: " + "[" * 1200, "not YAML|too deep"),
        ("kind: !!python/object/apply:os.system [ls]\n", "kind must be one of"),
        ("name: 'a\0b'\n", "does not allow"),
        ("kind: classify\nmodel: m\n", "'examples' is missing"),
    ],
)
def test_what_is_no_task_is_refused(folder: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(folder, text)


@given(text=st.text(max_size=60))
def test_any_text_is_a_task_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError):
        load_task(file)


def test_a_task_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml: cannot read the task file"):
        load_task(tmp_path / "nothing.yaml")


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_lengths_of_time_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert (
        parse_duration(f"{hours}h{minutes}m{seconds}s") or 0
    ) == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-3m", "3 weeks", "1m1h", "0s", "nan"])
def test_anything_else_is_no_length_of_time(text: str) -> None:
    assert parse_duration(text) is None


def test_the_nearest_word_is_near() -> None:
    assert find_nearest("lables", ["labels", "fields"]) == "labels"
    assert find_nearest("zzz", ["labels", "fields"]) is None


def test_a_check_runs_on_request_and_leaves_no_trace(folder: Path) -> None:
    (folder / "helper.py").write_text("WORD = 'hello'\n")
    (folder / "checks.py").write_text(
        "import helper\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Made:\n    word: str = helper.WORD\n\n"
        "def fits(example, answer):\n    return answer == Made().word\n"
    )
    path = list(sys.path)
    check = CheckRef(folder / "checks.py", "fits").load()
    assert check(EXAMPLE, "hello") is True
    assert check(EXAMPLE, "bye") is False
    assert sys.path == path
    assert not list(folder.rglob("*.pyc"))
    del sys.modules["helper"]


def test_a_check_may_import_its_neighbours_while_it_runs(folder: Path) -> None:
    (folder / "neighbour.py").write_text("WORD = 'hello'\n")
    (folder / "checks.py").write_text(
        "def fits(example, answer):\n    import neighbour\n    return answer == neighbour.WORD\n"
    )
    assert CheckRef(folder / "checks.py", "fits").load()(EXAMPLE, "hello") is True
    assert not list(folder.rglob("*.pyc"))
    del sys.modules["neighbour"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "raise RuntimeError('no catalogue')",
            r"checks\.py:1: .*RuntimeError \(got 'no catalogue'\)",
        ),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("x = (", r"checks\.py:1: .*SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("fits = 3", "no function 'fits'"),
    ],
)
def test_a_check_that_cannot_be_loaded_says_why(folder: Path, source: str, message: str) -> None:
    (folder / "checks.py").write_text(source + "\n")
    with pytest.raises(InputError, match=message):
        CheckRef(folder / "checks.py", "fits").load()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "answer.nothing",
            r"checks\.py:2: the check failed on the row r1 \(rows\.csv:2\): AttributeError",
        ),
        ("'yes'", r"returned neither .* on the row r1 \(got 'yes'\)"),
        ("1.5", "got 1.5"),
        ("None", "got None"),
    ],
)
def test_a_check_that_fails_on_a_row_names_it(folder: Path, body: str, message: str) -> None:
    (folder / "checks.py").write_text(f"def fits(example, answer):\n    return {body}\n")
    with pytest.raises(InputError, match=message):
        CheckRef(folder / "checks.py", "fits").load()(EXAMPLE, "x")


def test_a_schema_may_stand_in_a_file(folder: Path) -> None:
    (folder / "schema.json").write_text('{"type": "array"}')
    head = "kind: extract\nmodel: m\nexamples: rows.jsonl\n"
    task = read(folder, head + "contract: {json_schema: schema.json}\n")
    written = read(folder, head + "contract:\n  json_schema:\n    type: array\n")
    assert task.contract == written.contract
    assert task.contract.json_schema == {"type": "array"}


@pytest.mark.parametrize(
    "body", ['{"maximum": NaN}', '{"maximum": -Infinity}', "[" * 100_000, "{", b"\xff"]
)
def test_a_schema_file_that_is_no_json_is_refused(folder: Path, body: str | bytes) -> None:
    (folder / "schema.json").write_bytes(body if isinstance(body, bytes) else body.encode())
    with pytest.raises(InputError, match=r"task\.yaml:4: .*schema\.json is not JSON"):
        read(
            folder,
            "kind: extract\nmodel: m\nexamples: rows.jsonl\ncontract: {json_schema: schema.json}\n",
        )


@given(st.sets(st.sampled_from(("prompt", "cached", "answer", "per_hour")), min_size=1))
def test_a_price_that_is_missing_is_noted_exactly_when_money_cannot_be_told(
    tmp_path_factory: pytest.TempPathFactory, names: set[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "rows.jsonl").touch()
    prices = ", ".join(f"{name}: 1" for name in sorted(names))
    task = read(folder, f"kind: extract\nmodel: m\nexamples: rows.jsonl\nprices: {{{prices}}}\n")
    per_token = bool(names & {"prompt", "cached", "answer"})
    unused = per_token and not {"prompt", "answer"} <= names
    assert any("tokens, a request" in note for note in task.notes) == unused
    assert any("without per_hour" in note for note in task.notes) == ("per_hour" not in names)
    if unused:
        missing = " and ".join(name for name in ("prompt", "answer") if name not in names)
        assert f"prices: without a price for {missing} tokens, a request" in task.notes[0]
    cost = PricedCost(prompt_tokens=100, cached_tokens=10, answer_tokens=20, seconds=0.5)
    priced = compute_request_price(cost, task.prices) is not None
    assert any("a request has no price" in note for note in task.notes) == (not priced)


@pytest.mark.parametrize(
    ("prompt_model", "prices", "noted"),
    [
        ("big", "{prompt: 1, answer: 1}", True),
        ("big", "{prompt: 1, per_hour: 1}", False),
        ("m", "{prompt: 1, answer: 1}", False),
        ("", "{prompt: 1, answer: 1}", False),
    ],
)
def test_prices_of_tokens_beside_a_bigger_prompt_model_are_noted(
    prompt_model: str, prices: str, noted: bool, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").touch()
    keys = f"prompt_model: {prompt_model}\nprices: {prices}\n"
    task = read(tmp_path, f"kind: extract\nmodel: m\nexamples: rows.jsonl\n{keys}")
    assert any("apply only to model" in note for note in task.notes) == noted


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="link cannot be followed"):
        load_task(loop)


@pytest.mark.parametrize("key", ["kind", "model", "examples"])
def test_a_misspelt_key_is_one_error_and_is_not_called_missing_besides(
    folder: Path, key: str
) -> None:
    for wrong in (key + "s", key[0] + key[2] + key[1] + key[3:]):
        with pytest.raises(InputError) as error:
            read(folder, REQUIRED.replace(f"{key}:", f"{wrong}:"))
        assert len(error.value.issues) == 1
        assert error.value.issues[0].remedy == f"write {key!r}"
    with pytest.raises(InputError) as error:
        read(folder, "kind: answer\nmodel: m\nexamples: {fiel: rows.csv}\n")
    assert [issue.remedy for issue in error.value.issues] == ["write 'file'"]


def test_errors_below_a_misspelt_key_are_reported_with_it(folder: Path) -> None:
    with pytest.raises(InputError) as error:
        read(folder, REQUIRED + "limts: {to_person: {say: Ask Ida., exampels: [Hm]}}\n")
    assert [issue.remedy for issue in error.value.issues] == ["write 'limits'", "write 'examples'"]
