"""The judge: shown beside its agreement with people and corrected by it, and it decides nothing."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import cohen_kappa_score

from endpoint_server import Body, ScriptedServer, serve_script
from etude.cli.printing import print_verdict
from etude.comparison import compare
from etude.errors import Declined, InputError
from etude.runs import Run
from etude.stats import kappa, make_score_sample
from etude.stats.agreement import correct_share
from etude.task import load_task
from small_task import write_task


def answer_of(body: Body, name: str = "Answer") -> str:
    """What stands under a heading of the judge's prompt."""
    return str(body["messages"][-1]["content"].partition(f"# {name}\n")[2].partition("\n\n# ")[0])


def strict(body: Body) -> str:
    """Right is what has a title; of two answers the one that has it, else the first."""
    if "# Answer A" not in body["messages"][-1]["content"]:
        return "Yes." if "Title" in answer_of(body) else "**No**"
    return "B" if "Title" in answer_of(body, "Answer B") else "A"


def judged(folder: Path, url: str, labels: Sequence[bool] = (), say: str = "") -> Run:
    """A comparison with a judge, and with so many answers labelled by people; the first half has a
    title.
    """
    answers = ["Title: A" if n < len(labels) / 2 else "No" for n in range(len(labels))]
    lines = [
        {"prompt": f"Which book, {n}?", "completion": answer, "label": good}
        for n, (answer, good) in enumerate(zip(answers, labels, strict=True))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "people.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = f"judge:\n  endpoint: {url}\n  model: big\n  rubric: It names a book.\n"
    more += "  labels: people.jsonl\n" if labels else ""
    return compare(write_task(folder, more=f"methods: [prompt, fine_tune]\n{more}{say}")).run


@pytest.mark.real
def test_a_checked_judge_is_shown_with_its_agreement_and_decides_nothing(tmp_path: Path) -> None:
    labels = [True] * 18 + [False] * 22  # the judge says yes to the first 20
    with serve_script(ScriptedServer(say=strict)) as server:
        run = judged(tmp_path, server.url, labels)
        plain = compare(write_task(tmp_path / "plain", more="methods: [prompt, fine_tune]\n")).run
    verdict = run.verdict
    judge = verdict.judge
    num_replies = 40 + 2 * judge.shares[0].uncorrected.n
    assert (judge.labelled, judge.unread, judge.num_replies) == (40, 0, num_replies)
    assert judge.kappa.value == pytest.approx(0.9)
    (untuned, tuned) = judge.shares
    assert (untuned.method, tuned.method) == ("prompt", "fine_tune")
    assert tuned.uncorrected.value > untuned.uncorrected.value
    assert tuned.corrected.value == pytest.approx(
        min(1.0, (tuned.uncorrected.value + 20 / 22 - 1) / (20 / 22))
    )
    assert judge.pair.wins + judge.pair.losses + judge.pair.ties == tuned.uncorrected.n
    assert judge.pair.losses == 0
    assert (verdict.sentence, verdict.ladder) == (plain.verdict.sentence, plain.verdict.ladder)
    page = (run.folder / "report.html").read_text()
    assert "kappa 0.90" in page
    assert "Corrected for judge errors" in page


@pytest.mark.real
@pytest.mark.parametrize("labels", [[], [True] * 20 + [False] * 9])
def test_an_unchecked_judge_is_marked(labels: list[bool], tmp_path: Path) -> None:
    with serve_script(ScriptedServer(say=strict)) as server:
        run = judged(tmp_path, server.url, labels)
    judge = run.verdict.judge
    assert judge.kappa is None
    assert all(each.corrected is None for each in judge.shares)
    assert (run.folder / "report.html").read_text().count("not checked against people") == 3


@pytest.mark.real
def test_a_judge_that_prefers_a_place_prefers_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_script(
        ScriptedServer(say=lambda body: "A" if "# Answer A" in str(body) else "perhaps")
    ) as server:
        run = judged(tmp_path, server.url)
    judge = run.verdict.judge
    assert (judge.pair.wins, judge.pair.losses) == (0, 0)
    assert judge.shares == ()
    assert judge.unread == judge.num_replies == 2 * judge.pair.ties
    print_verdict(Console(width=200), run, tmp_path / "task.yaml")
    printed = capsys.readouterr().out
    assert (
        f"The judge replied neither yes nor no to {judge.unread} of {judge.unread} answers."
        in printed
    )
    assert f"Sent to big at {server.url}: " in printed


def test_what_leaves_the_machine_is_asked_about_and_the_keys_are_checked(tmp_path: Path) -> None:
    more = "judge: {endpoint: 'http://judge.example/v1', model: big, rubric: It names a book.}\n"
    asked: list[str] = []
    with pytest.raises(Declined):
        compare(write_task(tmp_path, more=more), confirm=lambda text: bool(asked.append(text)))
    assert "big at http://judge.example/v1 will get the rubric" in asked[0]
    with pytest.raises(InputError, match="judge has no rubric"):
        load_task(write_task(tmp_path, more=more.replace(", rubric: It names a book.", "")))
    pairs = more.replace("book.}", "book., labels: examples.jsonl}")
    with pytest.raises(InputError, match="there is no column with ratings of the answers"):
        compare(write_task(tmp_path, more=pairs))


def test_kappa_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    for n in (2, 5, 30, 400):
        a = draw.random(n) < 0.6
        b = draw.random(n) < 0.5
        b[: n // 2] = a[: n // 2]
        result = kappa(a, b)
        if len({*a, *b}) > 1:
            assert result.value == pytest.approx(cohen_kappa_score(a, b), abs=1e-9)
        assert result.low < result.high
        assert result.low <= result.value <= result.high
    assert kappa([True] * 30, [True] * 30).value == 1


def test_the_corrected_share_holds_the_true_one_and_its_interval_covers() -> None:
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        people = draw.random(60) < 0.5
        rows = draw.random(200) < 0.7
        judge, said = (
            np.where(truth, draw.random(len(truth)) < 0.9, draw.random(len(truth)) < 0.2)
            for truth in (people, rows)
        )
        result = correct_share(make_score_sample(said.astype(float)), people, judge)
        covered += result.low <= 0.7 <= result.high
    assert covered >= 372
    some = make_score_sample([1.0, 1, 0, 0, 0] * 20)
    perfect = correct_share(some, [True, False] * 20, [True, False] * 20)
    assert perfect.value == pytest.approx(0.4)
    assert correct_share(some, [True, False] * 20, [True] * 40) is None
    assert correct_share(some, [True] * 40, [True] * 40) is None
