"""Confidences: figures equal to other implementations, and a threshold that keeps its promise."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from etude.answer_file import predict
from etude.assistant import Assistant, load
from etude.cli import main
from etude.cli.chatting import print_answer
from etude.comparison import compare
from etude.comparison.handover import add_answer_confidence, add_handover
from etude.data.dataset import Dataset
from etude.errors import InputError
from etude.evaluate import ScoredAnswer
from etude.index.passages import Passage
from etude.index.search import Search
from etude.models.registry import Models
from etude.report.headline import read_headline
from etude.runs import find_run
from etude.runs.details import compute_details
from etude.runs.fingerprints import compute_fingerprints, list_changes
from etude.stats.calibration import (
    choose_threshold,
    compute_auroc,
    compute_risk_coverage,
    count_needed_answers,
)
from etude.task import load_task
from etude.task.definition import Handover
from etude.types import Answer, Example, Message, ModelRef, Score, SearchRef
from real_runs import real_run
from small_task import SETTINGS, write_json_lines, write_task


def drawn(num: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and right answers about as often as they say."""
    rng = np.random.default_rng(seed)
    sure = rng.beta(4, 1.5, num)
    if ties:
        sure = np.round(sure, 1)
    return sure, (rng.random(num) < sure**1.3).astype(float)


def easy(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers of which most are sure, and wrong as often as the others are unsure."""
    rng = np.random.default_rng(seed)
    sure = rng.beta(4, 0.5, num)
    return sure, (rng.random(num) < sure).astype(float)


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_is_that_of_scikit_learn(ties: bool) -> None:
    sure, right = drawn(997, 1, ties)
    assert compute_auroc(sure, right) == pytest.approx(roc_auc_score(right, sure), abs=1e-9)


def test_the_curve_ends_with_all_answers_and_gives_ties_together() -> None:
    points = compute_risk_coverage([0.9, 0.9, 0.5, 0.2], [1, 0, 1, 0])
    assert [(point.share, point.right, point.confidence) for point in points] == [
        (0.5, 0.5, 0.9),
        (0.75, pytest.approx(2 / 3), 0.5),
        (1.0, 0.5, 0.2),
    ]


@pytest.mark.parametrize("most", [0.05, 0.1, 0.2])
def test_a_threshold_from_dev_keeps_its_promise_in_95_of_100_draws(most: float) -> None:
    broken = answered = 0
    sure, right = easy(100_000, 1)
    for seed in range(400):
        found = choose_threshold(*easy(400, 100 + seed), most)
        if found is not None:
            given = sure >= found
            answered += 1
            broken += right[given].mean() < 1 - most
    assert answered >= 200
    assert broken / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_rows_of_one_group_are_one_proof(tmp_path: Path) -> None:
    """The same answers, each given for five alike rows, prove no more than once."""
    file = write_task(tmp_path, "classify", more="handover: 0.05\n")
    task = load_task(file)
    base = Assistant("baseline", "classify", ModelRef("fake"), "")
    sure, right = easy(100, 3)

    def noted(copies: int) -> str:
        rows = [
            ScoredAnswer(
                Example(f"{at}-{copy}", (Message("user", "x"),), "a", group=str(at)),
                Answer("a", "a", "a", None, (), float(one), 1, 0, 1, 0.0, truncated=False),
                Score(float(hit), None, None),
                0,
            )
            for copy in range(copies)
            for at, (one, hit) in enumerate(zip(sure, right, strict=True))
        ]
        found, (note,) = add_handover(base, task, rows)
        return f"{found.handover} {note.replace(', one of each group', '')}"

    assert noted(5) == noted(1)


def test_too_few_rows_or_too_many_errors_give_no_threshold() -> None:
    for share in (0.01, 0.05, 0.3):
        needed = count_needed_answers(share)
        assert choose_threshold([0.9] * (needed - 1), [1] * (needed - 1), share) is None
        assert choose_threshold([0.9] * needed, [1] * needed, share) == 0.9
    assert choose_threshold([0.9] * 200, [0] * 200, 0.05) is None
    assert choose_threshold([0.9] * 200, [1] * 200, 0.05) == 0.9


@pytest.mark.parametrize(
    ("sure", "right"), [([], []), ([0.5], [2]), ([1.5], [1]), ([0.5, 0.5], [1])]
)
def test_what_is_no_confidence_is_refused(sure: list[float], right: list[float]) -> None:
    with pytest.raises(ValueError, match=r"confidence|right"):
        compute_auroc(sure, right)


def test_a_classifier_hands_over_below_the_threshold_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(
        tmp_path, "classify", num=400, more="handover: 0.1\nmethods: [baseline, few_shot]\n"
    )
    run = compare(task).run
    method = "few_shot"
    assistant = load(run.assistant_folder(method))
    least = assistant.handover
    assert least is not None
    for line in run.read_predictions(method):
        assert bool(line.get("handed_over")) == (line["confidence"] < least), line["side"]
    lines = [line for line in run.read_predictions(method) if line["side"] == "test"]
    answer = assistant.answer(lines[0]["input"])
    assert answer.handed_over == bool(lines[0].get("handed_over"))
    notes = json.loads((run.method_folder(method) / "method.json").read_text(encoding="utf-8"))[
        "notes"
    ]
    assert any(
        "hands over questions below" in note or "hands over everything" in note for note in notes
    )
    record = json.loads((run.method_folder("baseline") / "method.json").read_text(encoding="utf-8"))
    assert any("hands over" in note and "train and dev rows" in note for note in record["notes"])
    result = run.verdict.details[method].handover if run.verdict else None
    assert result.answered.value == pytest.approx(
        np.mean([not line.get("handed_over") for line in lines])
    )
    assert main(["test", str(task), "--quick", "-m", method]) == 0
    assert "handed over" in (run.folder / "tests" / method / "report.html").read_text(
        encoding="utf-8"
    )


def test_an_assistant_that_answers_nothing_itself_is_not_said_to_be_usable(tmp_path: Path) -> None:
    run = compare(
        write_task(tmp_path, "classify", num=120, more="handover: 0.01\nmethods: [baseline]\n")
    ).run
    assert run.verdict is not None
    assert "hands every question over to a person and answers none itself" in run.verdict.sentence
    assert "hands every question over" in read_headline(run).ready


def test_a_task_without_handover_is_the_run_it_was(tmp_path: Path) -> None:
    folder = find_run(real_run("classify").parents[1]).assistant_folder("baseline")
    assert "handover" not in (folder / "assistant.json").read_text(encoding="utf-8")
    task = load_task(write_task(tmp_path, "classify"))
    tasks = (task, replace(task, handover=Handover(0.1)))
    prints = [compute_fingerprints(each, Dataset(()), None) for each in tasks]
    assert list_changes(*prints) == ["handover"]


def make_rows(num: int, seed: int, signal: float, lowest: float = 0.0) -> list[ScoredAnswer]:
    """Texts of which seven in ten are right; `signal` is by how much their log-probability tells
    which. That of wrong ones is about `lowest`.
    """
    rng = np.random.default_rng(seed)
    right = rng.random(num) < 0.7
    values = lowest + signal * right + rng.normal(size=num)
    return [
        ScoredAnswer(
            Example(str(at), (Message("user", f"question {at}"),), "a"),
            Answer(
                "a", "a", "a", None, (), None, 1, 0, 1, 0.0, False, signals={"mean_logprob": value}
            ),
            Score(float(hit), None, None),
            0,
        )
        for at, (value, hit) in enumerate(zip(values.tolist(), right.tolist(), strict=True))
    ]


def test_texts_are_handed_over_if_their_signals_are_low(tmp_path: Path) -> None:
    more = "handover: {wrong: 0.1, say: A person will answer.}\n"
    task = load_task(write_task(tmp_path, "rewrite", more=more))
    base = Assistant("x", "rewrite", ModelRef("fake"))
    assert task.handover is not None
    broken = 0
    for seed in range(8):
        assistant, rated, notes = add_answer_confidence(
            base, task.handover, make_rows(300, seed, 4), 0
        )
        assert not notes
        assistant, _ = add_handover(assistant, task, rated)
        others = make_rows(1000, 1000 + seed, 4)
        test = [(assistant.rate(row.answer, None), row.score.value) for row in others]
        answered = [value for answer, value in test if not answer.handed_over]
        broken += np.mean(answered) < 0.9
        assert 0.5 < len(answered) / len(test) < 0.95
        assert {answer.shown for answer, _ in test if answer.handed_over} == {
            "A person will answer."
        }
        assert {answer.shown for answer, _ in test if not answer.handed_over} == {"a"}
    assert broken <= 2


def test_without_a_signal_nothing_is_promised(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, "rewrite", more="handover: 0.1\n"))
    base = Assistant("x", "rewrite", ModelRef("fake"))
    assert task.handover is not None
    rows = make_rows(200, 1, 0, lowest=-50)
    assistant, rated, (note,) = add_answer_confidence(base, task.handover, rows, 0)
    assert "no confidence separates right from wrong answers" in note
    share = np.mean([row.score.value for row in rows])
    (confidence,) = {row.answer.confidence for row in rated}
    assert confidence == pytest.approx(share, abs=0.01)
    assistant, _ = add_handover(assistant, task, rated)
    assert all(assistant.rate(row.answer, None).handed_over for row in rated)


def test_a_score_that_no_answer_reaches_is_reported() -> None:
    rows = [replace(row, score=Score(0.4, None, None)) for row in make_rows(60, 1, 1)]
    base = Assistant("x", "rewrite", ModelRef("fake"))
    (note,) = add_answer_confidence(base, Handover(0.1), rows, 0)[2]
    assert "none scores 1; set right: under handover:" in note


def test_a_text_is_handed_over_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On dev, on the test, in a saved assistant, in a file of answers and in a behaviour test."""
    more = (
        "handover: {wrong: 0.4, say: A person will answer.}\n"
        "methods: [similar_shot]\n"
        "metric: exact_match\n"
    )
    task = write_task(tmp_path, "extract", num=900, more=more)
    run = compare(task).run
    assistant = load(run.assistant_folder("similar_shot"))
    least = assistant.handover
    assert least is not None
    lines = [line for line in run.read_predictions("similar_shot") if line["side"] == "test"]
    handed_over = [bool(line.get("handed_over")) for line in lines]
    assert 0.1 < np.mean(handed_over) < 0.9
    assert handed_over == [line["confidence"] < least for line in lines]
    result = run.verdict.details["similar_shot"].handover if run.verdict else None
    assert result.answered.value == pytest.approx(1 - np.mean(handed_over))
    wrong = [1 - line["score"] for line in lines if not line.get("handed_over")]
    assert result.wrong.value == pytest.approx(np.mean(wrong))
    assert result.curve[-1].share == 1
    shares = [point.share for point in result.curve]
    assert shares == sorted(shares)
    write_json_lines(tmp_path / "new.jsonl", ({"input": line["input"]} for line in lines))
    predict(task, tmp_path / "new.jsonl", tmp_path / "out.jsonl", method="similar_shot")
    rows = [
        json.loads(line)
        for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["handed_over"] for row in rows] == handed_over
    for row, line in zip(rows, lines, strict=True):
        texts = (row["answer"], row["withheld"])
        sentence = "A person will answer."
        assert texts == (
            (sentence, line["answer"]) if line.get("handed_over") else (line["answer"], None)
        )
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Wrong answers of" in page
    assert page.count("loss-line") >= len(shares) - 1
    assert "| similar_shot | " in (run.folder / "report.md").read_text(encoding="utf-8")
    assert main(["test", str(task), "--quick", "-m", "similar_shot"]) == 0
    report = run.folder / "tests" / "similar_shot" / "report.html"
    assert "handed over" in report.read_text(encoding="utf-8")
    assert "A person will answer" not in capsys.readouterr().out
    turns = [Message("user", lines[handed_over.index(True)]["input"])]
    assert print_answer(assistant, turns, Models()) == "A person will answer."
    assert capsys.readouterr().out.startswith(
        "A person will answer.\n\n(handed over to a person: only "
    )


@pytest.mark.parametrize("settings", [{}, {"handover": 0.0}])
def test_a_chat_names_the_passages_of_every_answer(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Search([Passage("Boots are on the top shelf.", "boots.md")])
    search.save(tmp_path / "search")
    reference = SearchRef(tmp_path / "search", search.fingerprint)
    assistant = Assistant("retrieval", "answer", ModelRef("fake"), search=reference, **settings)
    text = print_answer(assistant, [Message("user", "Where are the boots?")], Models())
    output = capsys.readouterr()
    assert (output.out, output.err) == (f"{text}\n\n", "From boots.md\n\n")


def test_answers_that_are_not_in_the_documents_have_rates_of_their_own() -> None:
    handover = Handover(unanswerable="Not in the documents.")

    def line(number: int, expected: str, answer: str) -> dict[str, object]:
        return {
            **{"id": number, "unit": str(number), "expected": expected, "answer": answer},
            **{"confidence": None, "score": 1.0, "value": answer, "references": []},
        }

    pairs = [("not in the  documents", "Not in the documents.")] * 6 + [
        ("Not in the documents.", "Yes.")
    ] * 2
    pairs += [("Yes.", "Yes.")] * 9 + [("Yes.", "NOT IN THE DOCUMENTS")]
    lines = [line(at, *pair) for at, pair in enumerate(pairs)]
    rates = compute_details("answer", lines, handover).unanswerable
    assert (rates.answered.value, rates.answered.n) == (0.25, 8)
    assert (rates.refused.value, rates.refused.n) == (0.1, 10)


def test_the_report_shows_both_rates_of_not_in_the_documents(tmp_path: Path) -> None:
    sentence = "The documents do not say."
    more = f"handover: {{unanswerable: {sentence}}}\nmethods: [similar_shot]\nmetric: exact_match\n"
    task = write_task(tmp_path, "answer", num=200, more=more)
    text = task.read_text(encoding="utf-8")
    task.write_text(text.replace(SETTINGS["answer"], ""), encoding="utf-8")
    file = tmp_path / "examples.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows[::4]:
        row |= {"input": f"Who wrote it? {row['input']}", "output": sentence}
    write_json_lines(file, rows)
    run = compare(task).run
    rates = run.verdict.details["similar_shot"].unanswerable
    lines = [line for line in run.read_predictions("similar_shot") if line["side"] == "test"]
    expected = [line for line in lines if line["expected"] == sentence]
    assert rates.answered.value == pytest.approx(
        np.mean([line["answer"] != sentence for line in expected])
    )
    said = "Not in the documents: similar_shot answers"
    assert any(caveat.startswith(said) for caveat in run.verdict.caveats)
    heading = "| Answered, but not in the documents | Not answered, but in the documents |"
    assert heading in (run.folder / "report.md").read_text(encoding="utf-8")
    assert "Not in the documents</h3>" in (run.folder / "report.html").read_text(encoding="utf-8")
    assert load(run.assistant_folder("similar_shot")).answer_confidence is None


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("extract", "handover: {unanswerable: No.}\n", "needs kind: answer"),
        ("answer", "handover: {wrong: 0.05, sya: No.}\n", "say"),
        ("answer", "handover: {wrong: 5}\n", "handover.wrong"),
    ],
)
def test_a_wrong_key_of_handover_is_an_error(
    tmp_path: Path, kind: str, more: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_task(write_task(tmp_path, kind, more=more))


def test_a_far_question_is_handed_over_however_sure_the_answer() -> None:
    assistant = Assistant(
        "baseline", "classify", ModelRef("fake"), choices=("a", "b"), handover=0.5
    )
    answer = Answer("1", "a", "a", None, (), None, 1, 0, 1, 0.0, truncated=False)
    near = replace(answer, nearness=0.9)
    far = replace(answer, nearness=0.2)
    assert [assistant.rate(one, 0.95).handed_over for one in (answer, near, far)] == [
        False,
        False,
        True,
    ]
    assert assistant.rate(far, 0.95).handover_score == pytest.approx(0.95 * 0.2**0.5)
    assert assistant.rate(far, None).handed_over is False


def test_nearness_is_the_largest_cosine_and_at_least_0() -> None:
    class Axes:
        """An encoder that knows four directions."""

        def embed(self, texts: list[str]) -> np.ndarray:
            table = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "between": (0.8, 0.6)}
            return np.array([table[text] for text in texts], dtype=np.float32)

    passages = [Passage("digest", "train")] * 2
    search = Search(passages, "meaning", Axes(), Axes().embed(["east", "north"]))  # type: ignore[arg-type]
    assert search.measure_nearness(["east", "between", "west"]) == pytest.approx([1.0, 0.8, 0.0])
    others = search.measure_nearness(["east", "west", "between", "north"], [0, 0, 1, 1])
    assert others == pytest.approx([0.8, 0.0, 0.8, 0.0])


@pytest.mark.real
def test_nearness_is_part_of_what_is_handed_over_everywhere(tmp_path: Path) -> None:
    """With the packaged encoder: on dev, on the test, and in a saved assistant, which holds no
    training question.
    """
    more = "handover: 0.1\nmethods: [baseline, few_shot]\nencoder: all-minilm-l6-v2\n"
    task = write_task(tmp_path, "classify", num=400, more=more)
    run = compare(task).run
    folder = run.assistant_folder("few_shot")
    assistant = load(folder)
    assert assistant.training is not None
    lines = [line for line in run.read_predictions("few_shot") if line["confidence"] is not None]
    assert {line["side"] for line in lines} == {"dev", "test"}
    for line in lines:
        score = line["confidence"] * line["nearness"] ** 0.5
        assert bool(line.get("handed_over")) == (score < (assistant.handover or 0)), line["side"]
    # The same list as in the run: in another batch, the rounding of a vector would differ.
    test = [line for line in lines if line["side"] == "test"]
    for line, answer in zip(test, assistant.answer([line["input"] for line in test]), strict=True):
        assert answer.nearness == pytest.approx(line["nearness"], abs=1e-5)
    files = [path for path in (folder / "training").rglob("*") if path.is_file()]
    assert files
    row = json.loads((tmp_path / "examples.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert all(row["input"].encode() not in path.read_bytes() for path in files)


@pytest.mark.real
def test_the_packaged_model_hands_over_what_it_cannot_do(tmp_path: Path) -> None:
    """It repeats words, and cannot spell backwards: in a comparison, the report, a file of answers
    and a server.
    """
    pytest.importorskip("openai")
    from serving import open_client, serve_as

    draw = random.Random(0)
    sentence = "A person will answer."
    words = [
        "lamp",
        "river",
        "stone",
        "candle",
        "garden",
        "window",
        "bottle",
        "ladder",
        "pepper",
        "mirror",
    ]
    rows = []
    for number in range(150):
        pair = " ".join(draw.sample(words, 2))
        hard = f"{draw.randrange(211, 999)} times {draw.randrange(211, 999)}"
        rows.append((f"Repeat these words: {pair}", pair) if number % 3 else (hard, hard[::-1]))
    lines = [json.dumps({"input": asked, "output": answer}) for asked, answer in rows]
    (tmp_path / "examples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = tmp_path / "task.yaml"
    task.write_text(
        "kind: answer\n"
        "model: smollm2-135m-instruct\n"
        "examples: examples.jsonl\n"
        "instructions: Answer briefly.\n"
        "metric: exact_match\n"
        "methods: [few_shot]\n"
        "max_tokens: 16\n"
        "encoder: none\n"
        f"handover: {{wrong: 0.4, say: {sentence}}}\n",
        encoding="utf-8",
    )
    run = compare(task).run
    test = [line for line in run.read_predictions("few_shot") if line["side"] == "test"]
    handed_over = [bool(line.get("handed_over")) for line in test]
    assert 0.1 < np.mean(handed_over) < 0.9
    assert np.mean([1 - line["score"] for line in test if not line.get("handed_over")]) <= 0.4
    result = run.verdict.details["few_shot"].handover if run.verdict else None
    assert result.curve[-1].share == 1
    assert "Wrong answers of" in (run.folder / "report.html").read_text(encoding="utf-8")
    asked = [test[handed_over.index(is_over)] for is_over in (True, False)]
    expected = [sentence, asked[1]["answer"]]
    write_json_lines(tmp_path / "new.jsonl", ({"input": line["input"]} for line in asked))
    predict(task, tmp_path / "new.jsonl", tmp_path / "out.jsonl")
    answers = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["answer"] for line in answers] == expected
    with open_client(serve_as("unsure", load(run.assistant_folder("few_shot")))) as client:
        for line, text in zip(asked, expected, strict=True):
            chat = [{"role": "user", "content": line["input"]}]
            message = (
                client.chat.completions.create(model="unsure", messages=chat).choices[0].message
            )
            assert (message.content, message.handover) == (text, text == sentence)
