"""Rows that a bigger model makes, with stand-ins: a scripted teacher whose right, wrong and copied
rows are known.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_server import Body, ScriptedServer, serve_script
from etude.base.files import list_lines
from etude.cli import main
from etude.comparison import compare
from etude.data.dataset import Dataset, load_dataset
from etude.data.splits import Split, split
from etude.errors import Declined, InputError
from etude.make import make_rows
from etude.make.gates import (
    CHECK,
    CONTRACT,
    EMPTY,
    LABEL,
    LIKE_TEST,
    REPEATED,
    UNSUPPORTED,
    Gates,
    choose_covering,
)
from etude.make.requests import fill_quotas, parse_rows
from etude.report.read_run import read_report
from etude.task import Task, load_task
from etude.types import MADE, Example, Message
from processes import kill_when, start_command
from small_task import THEMES, write_json_lines, write_task

NEW = "Somebody wants"
UNKNOWN = "unheard-of"


def read_task(file: Path) -> tuple[Task, Dataset, Split]:
    task, rows = load_dataset(load_task(file))
    return task, rows, split(rows, task.kind, task.seed)


def write_new(theme: str, draw: random.Random) -> str:
    letters = " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(4))
    return f"{NEW} {letters} about {theme}, age {draw.randint(3, 12)}"


def make_example(text: str, output: str, number: int = 0) -> Example:
    return Example(f"made-{number}", (Message("user", text),), output, source=MADE)


def teach(tests: Sequence[Example]) -> Callable[[Body], str]:
    """A teacher that answers each request with four right rows, one with an unknown label, a copy
    of a parent, and a copy of a test row in capitals.
    """

    def say(body: Body) -> str:
        prompt = body["messages"][-1]["content"]
        parents = list(parse_rows(prompt))
        draw = random.Random(prompt)
        theme = parents[0][1]
        rows = [
            *((write_new(theme, draw), theme) for _ in range(4)),
            (write_new(theme, draw), UNKNOWN),
        ]
        rows += [parents[0], (f"{draw.choice(tests).text.upper()}!", theme)]
        lines = (json.dumps({"input": text, "output": label}) for text, label in rows)
        return f"Here they are:\n```\n[{', '.join(lines)}]\n```"

    return say


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serve_script(ScriptedServer()) as script:
        yield script


def write_made_task(folder: Path, server: ScriptedServer) -> Path:
    more = (
        f"prompt_model: {{endpoint: '{server.url}', model: big}}\nmethods: [baseline, fine_tune]\n"
    )
    task = write_task(folder, "classify", num=200, more=more)
    server.say = teach(read_task(task)[2].test.examples)
    return task


def use_made_rows(task: Path, name: str = "made.jsonl") -> None:
    task.write_text(f"{task.read_text()}made_rows: {name}\n")


def test_rows_are_made_from_training_rows_alone_and_nothing_of_the_test_is_shown(
    server: ScriptedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = write_made_task(tmp_path, server)
    parts = read_task(task)[2]
    assert main(["make", str(task), "--rows", "40", "--yes"]) == 0
    printed = capfd.readouterr().out
    page = (tmp_path / "made.html").read_text()
    lines = list_lines(tmp_path / "made.jsonl")
    train = {row.id: row for row in parts.train}
    assert len(lines) == 40
    for line in lines:
        assert line["source"] == MADE
        assert line["input"].startswith(NEW)
        assert {train[parent].output for parent in line["parents"]} == {line["output"]}
    asked = json.dumps([body["messages"] for body in server.bodies])
    for row in parts.dev:
        assert row.text not in asked
    for row in parts.test:
        assert row.text not in asked
        for shown in (
            page,
            printed,
            json.dumps(lines),
            (tmp_path / "made.candidates.jsonl").read_text(),
        ):
            assert row.text.casefold() not in shown.casefold()
    written = {row for body in server.bodies for row in parse_rows(server.say(body))}
    num_copies = sum(text.isupper() for text, _ in written)
    assert f"refused: {num_copies:,}: {LIKE_TEST}" in printed
    assert f"{num_copies:,} rows: {LIKE_TEST}" in page
    assert UNKNOWN in page  # a refused row that is not like a test row is shown with its reason
    for name in (
        "made.jsonl",
        "made.as-made.jsonl",
    ):  # nothing is overwritten, also if only one of them is there
        (tmp_path / "made.jsonl").rename(tmp_path / name)
        assert main(["make", str(task), "--yes"]) == 2
    assert (
        main(
            [
                "make",
                str(task),
                "--yes",
                "--output",
                str(tmp_path / "more.jsonl"),
                "--model",
                "smollm2-135m-instruct",
            ]
        )
        == 2
    )
    assert "rows need a bigger model" in capfd.readouterr().err


def test_nothing_is_sent_without_an_answer_to_the_question_and_all_requests_are_announced(
    server: ScriptedServer, tmp_path: Path
) -> None:
    task = write_made_task(tmp_path, server)
    priced = task.read_text().replace("model: big}", "model: big, prices: {prompt: 1, answer: 2}}")
    task.write_text(priced)
    with pytest.raises(Declined):
        make_rows(task, 30, confirm=lambda question: False)
    assert not server.bodies
    questions = []
    make_rows(task, 30, confirm=lambda question: not questions.append(question))
    assert f"at most {len(server.bodies):,} requests" in questions[0]
    assert "At your prices" in questions[0]


def test_after_a_kill_nothing_is_asked_twice_and_the_rows_are_the_same(
    server: ScriptedServer, tmp_path: Path
) -> None:
    make_rows(write_made_task(tmp_path / "whole", server), 500)
    server.asked.clear()
    task = write_made_task(tmp_path / "killed", server)
    server.hold_after = server.answered.total() + 30
    journal = tmp_path / "killed" / "runs" / "made" / "requests.jsonl"
    kill_when(
        start_command("make", task),
        lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 30,
        60,
    )
    assert not (tmp_path / "killed" / "made.jsonl").exists()
    answered = {**server.answered}
    server.hold_after = None
    server.asked.clear()
    make_rows(task, 500)
    num_answered_before = 30
    assert len(server.asked) == sum(answered.values()) - 30 - num_answered_before
    assert set(server.asked.values()) == {1}
    for name in ("made.jsonl", "made.candidates.jsonl", "made.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    file = tmp_path / "killed" / "made.jsonl"
    before = file.read_bytes()
    file.unlink()
    server.asked.clear()
    make_rows(task, 500)
    assert (file.read_bytes(), dict(server.asked)) == (before, {})


def test_each_gate_refuses_its_rows_and_only_these(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text(
        "def fits(example, answer):\n    return 'zzzz' not in example.text\n"
    )
    task, _, parts = read_task(
        write_task(tmp_path, "classify", num=200, more="check: check.py:fits\n")
    )
    draw = random.Random(3)
    rows = dict[str, list[tuple[str, str]]]()
    rows[""] = [(write_new(theme, draw), theme) for theme in THEMES for _ in range(5)]
    rows[LIKE_TEST] = [(row.text.upper(), row.output) for row in parts.test]
    rows[EMPTY] = [("", THEMES[0]), (write_new(THEMES[0], draw), "")]
    rows[CONTRACT] = [(write_new(theme, draw), UNKNOWN) for theme in THEMES]
    rows[CHECK] = [(f"{write_new(theme, draw)} zzzz", theme) for theme in THEMES]
    copied = [*parts.train.examples[:20], *parts.dev.examples[:10]]
    rows[REPEATED] = [(f"{row.text} !", row.output) for row in copied]
    rows[REPEATED] += [(f"{text}??", theme) for text, theme in rows[""]]
    order = [(text, label, reason) for reason, pairs in rows.items() for text, label in pairs]
    examples = {f"made-{number}": reason for number, (_, _, reason) in enumerate(order)}
    gates = Gates(task, parts, None)
    passed = gates.select(
        [make_example(text, label, number) for number, (text, label, _) in enumerate(order)]
    )
    assert {row.text for row in passed} <= {text for text, _ in rows[""]}
    assert len(passed) >= 0.9 * len(rows[""])
    wrong = {
        reason: {examples[row.id] for row in refused} for reason, refused in gates.refused.items()
    }
    assert {reason: names for reason, names in wrong.items() if reason != LABEL} == {
        reason: {reason} for reason in rows if reason
    }
    swapped = [(text, THEMES[(THEMES.index(theme) + 4) % len(THEMES)]) for text, theme in rows[""]]
    gates = Gates(task, parts, None)
    gates.select(
        [make_example(text, label, number) for number, (text, label) in enumerate(swapped)]
    )
    assert len(gates.refused[LABEL]) >= 0.5 * len(swapped)


def test_extracted_values_are_in_their_text_if_those_of_the_training_rows_are(
    tmp_path: Path,
) -> None:
    file = write_task(tmp_path, "extract", num=100)
    draw = random.Random(3)
    lines = list_lines(tmp_path / "examples.jsonl")
    for line in lines:
        line["output"] = json.dumps(
            json.loads(line["output"]) | {"shelf": f"shelf {draw.randint(1, 9)}"}
        )
    write_json_lines(tmp_path / "examples.jsonl", lines)
    task, _, parts = read_task(file)
    form = '{"theme": "%s", "age": null, "shelf": "elsewhere"}'
    right = [(write_new(theme, draw), form % theme) for theme in THEMES]
    wrong = [(write_new(theme, draw), form % UNKNOWN) for theme in THEMES]
    gates = Gates(task, parts, None)
    passed = gates.select(
        [make_example(*pair, number) for number, pair in enumerate([*right, *wrong])]
    )
    assert [(row.text, row.output) for row in passed] == right
    assert len(gates.refused[UNSUPPORTED]) == len(wrong)


def test_made_rows_are_only_trained_on_and_move_no_other_row(tmp_path: Path) -> None:
    task, rows, parts = read_task(write_task(tmp_path, "classify", num=200))
    draw = random.Random(5)
    made = [
        make_example(write_new(draw.choice(THEMES), draw), THEMES[0], number)
        for number in range(100)
    ]
    near = [
        make_example(f"{row.text}!", row.output, 100 + n)
        for n, row in enumerate([*parts.dev, *parts.test])
    ]
    full = Dataset((*made[:50], *rows, *made[50:], *near))
    again = split(full, task.kind, task.seed)
    assert (again.dev.examples, again.test.examples) == (parts.dev.examples, parts.test.examples)
    assert again.train.real.examples == parts.train.examples
    assert [row for row in again.train if row.is_made] == made
    assert again.assignments == parts.assignments
    (finding,) = [finding for finding in again.findings if finding.kind == "test_overlap"]
    assert {*finding.rows} == {row.id for row in near}
    later = split(Dataset((*rows, *made)), task.kind, task.seed, previous=dict(parts.assignments))
    assert later.dev.examples == parts.dev.examples


def test_a_row_that_says_it_is_made_is_only_trained_on_and_does_not_count(tmp_path: Path) -> None:
    task = write_task(tmp_path, "classify", num=100)
    lines = list_lines(tmp_path / "examples.jsonl")
    draw = random.Random(2)
    made = [
        {"input": write_new(THEMES[0], draw), "output": THEMES[0], "source": MADE}
        for _ in range(400)
    ]
    write_json_lines(tmp_path / "examples.jsonl", [*lines, *made])
    _, rows, parts = read_task(task)
    assert (len(rows.real), len(parts.train.real)) == (100, 20)
    assert not any(row.is_made for row in (*parts.dev, *parts.test))
    write_json_lines(tmp_path / "examples.jsonl", [*lines[:10], *made])
    with pytest.raises(InputError, match="too few rows for a comparison"):
        read_task(task)


def test_the_comparison_says_what_made_rows_add_and_resumes_to_the_same(
    server: ScriptedServer, tmp_path: Path
) -> None:
    task = write_made_task(tmp_path, server)
    text = task.read_text()
    made = make_rows(task, 25)
    task.write_text("".join(line for line in text.splitlines(True) if "prompt_model" not in line))
    use_made_rows(task)
    run = compare(task).run
    verdict = run.verdict
    folder = run.folder
    by_method = {result.method: result for result in verdict.made_rows}
    assert by_method.keys() == {"baseline", "fine_tune"}
    for name, result in by_method.items():
        assert result.num_made == len(made.rows) == 25
        assert result.drawn is not None
        assert result.text in verdict.caveats
        assert "25 made rows add" in result.text
        assert f"to {name}; repeating the real rows adds" in result.text
    assert any(f"{verdict.leaning} leans on made rows" in line for line in verdict.caveats)
    assert verdict.train_rows == run.info["split"]["train"] == 120
    assert read_report(folder).verdict == verdict
    assert "25 made rows add" in (folder / "report.html").read_text()
    assert not list(folder.glob("methods/*/made_rows/*/work"))
    for name in ("verdict.json", "report.html", "report.md"):  # killed after the arms have answered
        (folder / name).unlink()
    run.update(status="running")
    assert compare(task).verdict.made_rows == verdict.made_rows


@given(
    st.dictionaries(st.text("abc", min_size=1), st.integers(1, 30), min_size=1), st.integers(0, 60)
)
def test_rare_shapes_come_first(counts: dict[str, int], num_rows: int) -> None:
    quotas = fill_quotas(Counter(counts), num_rows)
    assert quotas.total() == num_rows
    totals = {shape: counts[shape] + quotas[shape] for shape in counts}
    for shape in +quotas:  # no shape got a row while another had fewer
        assert totals[shape] - 1 <= min(totals.values())
    limits = Counter({shape: 2 for shape in counts})
    limited = fill_quotas(Counter(counts), num_rows, limits)
    assert limited.total() == min(num_rows, 2 * len(counts))


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.text(), st.booleans())
def test_rows_are_found_in_whatever_a_model_says(
    rows: list[tuple[str, str]], noise: str, is_indented: bool
) -> None:
    objects = [{"input": text, "output": output} for text, output in rows]
    answer = json.dumps(objects, indent=2) if is_indented else "\n".join(map(json.dumps, objects))
    expected = [(text.strip(), output.strip()) for text, output in rows]
    assert list(parse_rows(f"Sure:\n{answer}\nDone.")) == expected
    list(parse_rows(noise + answer[: len(answer) // 2]))  # a cut answer is no error
    assert list(parse_rows('{"input": "a", "output": {"b": [1]}}')) == [("a", '{"b": [1]}')]
    assert list(parse_rows('{"input": "a"}{"output": null}')) == [
        ("a", ""),
        ("", ""),
    ]  # both are refused as empty


def test_the_choice_covers_what_there_is() -> None:
    """Of five places with many rows each, one of them known, every other place is chosen before one
    comes twice.
    """
    draw = np.random.default_rng(1)
    places = np.repeat(np.arange(5), 20)
    vectors = np.eye(5)[places] + draw.normal(0, 0.01, (100, 5))
    vectors = np.vstack([vectors, np.eye(5)[:1]])
    rows = [make_example(str(number), "", number) for number in range(100)]
    chosen = choose_covering(
        rows, [""] * 101, Counter({"": 4}), lambda a, b: vectors[a] @ vectors[b].T
    )
    assert sorted(places[int(row.text)] for row in chosen) == [1, 2, 3, 4]
