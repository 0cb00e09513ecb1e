"""The record of answered requests, the test of change, and what `etude watch` says about them."""

import itertools
import json
import math
import random
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from etude.assistant import Assistant
from etude.cli import main as etude
from etude.errors import InputError
from etude.feedback import FeedbackLog, read_feedback
from etude.serve.server import ServerSettings
from etude.studio.picking import pick_questions
from etude.studio.review_queue import ReviewItem
from etude.studio.studio import Studio
from etude.types import Message, ModelRef
from etude.watch import bound, martingale, record
from etude.watch.questions import select_questions
from etude.watch.record import TrafficRecord
from etude.watch.record_key import load_record_key
from etude.watch.watching import format_wrong, watch
from real_runs import copy_task
from serving import open_client, serve_as
from small_task import rows, write_json_lines

FAKE = Assistant("prompt", "answer", ModelRef("fake"))
MAIL = "Write to ann.lee@firm.com about trains"


def get_log_wealth(p_values: Sequence[float]) -> float:
    return float(martingale.compute_log_wealth(martingale.compute_gains(np.array(p_values)))[-1])


def test_p_values_are_ranks_among_the_reference_and_all_earlier_scores() -> None:
    draw = random.Random(0)
    reference, scores = ([draw.randint(0, 9) for _ in range(number)] for number in (7, 40))
    p_values = martingale.compute_p_values(reference, scores, np.random.default_rng(1))
    ties = np.random.default_rng(1)
    seen = list(reference)
    for score, p_value in zip(scores, p_values, strict=True):
        seen.append(score)
        higher = sum(other > score for other in seen)
        equal = seen.count(score)
        assert p_value == pytest.approx((higher + ties.random() * equal) / len(seen))


def test_the_wealth_is_the_mean_over_all_paths_between_bets() -> None:
    p_values = [0.004, 0.3, 0.04]
    bets = [None, *martingale.BETS]

    def gain(bet: tuple[float, float] | None, p_value: float) -> float:
        return 1.0 if bet is None else 1 - bet[0] + (bet[0] / bet[1] if p_value <= bet[1] else 0.0)

    wealth = 0.0
    for (jump,) in martingale.JUMPS.tolist():
        for path in itertools.product(range(len(bets)), repeat=len(p_values)):
            steps = [jump / len(bets) + (1 - jump) * (a == b) for a, b in itertools.pairwise(path)]
            gains = [gain(bets[bet], p_value) for bet, p_value in zip(path, p_values, strict=True)]
            wealth += math.prod([*steps, *gains]) / len(bets) / len(martingale.JUMPS)
    assert get_log_wealth(p_values) == pytest.approx(math.log(wealth))


def test_the_wealth_neither_grows_nor_falls_on_average_without_a_change() -> None:
    grid = (np.arange(100) + 0.5) / 100  # every width is a whole number of its cells
    wealths = [math.exp(get_log_wealth(pair)) for pair in itertools.product(grid, grid)]
    assert np.mean(wealths) == pytest.approx(1.0)


def test_a_change_is_dated() -> None:
    draw = np.random.default_rng(3)
    reference = draw.normal(size=300)
    before = draw.normal(size=400)
    after = draw.normal(2, size=200)
    scores = [*before, *after]
    result = martingale.detect_change(reference, scores, 0.05)
    assert result.alarm is not None
    assert result.change is not None
    assert 390 <= result.change <= result.alarm < 460
    assert martingale.detect_change(reference, before.tolist(), 0.05).alarm is None


def test_the_wealth_of_the_bound_does_not_grow_on_average_at_the_true_share() -> None:
    wrong = np.array([1.0, 0, 1, 0, 0])
    predicted = np.array([0.1, 0.9, 0.7, 0, 0.2])
    sizes = (3, 4, 5)  # the record grows between the draws
    shares = np.cumsum([wrong[:size].mean() for size in sizes]) / (1, 2, 3)
    means = np.array([predicted[:size].mean() for size in sizes])
    wealths = [
        np.exp(bound.compute_log_wealth(shares, wrong[list(drawn)], predicted[list(drawn)], means))
        for drawn in itertools.product(*map(range, sizes))
    ]
    assert (np.mean(wealths, axis=0) <= 1).all()
    assert (np.mean(wealths, axis=0) > 0.9).all(), "and little is lost"


@pytest.mark.parametrize("trust", [1.0, 0.0, 0.4, -1.0])
def test_the_bound_holds_at_all_looks_also_with_wrong_confidences(trust: float) -> None:
    draw = np.random.default_rng(0)
    num_draws = 100
    misses = 0
    highs = list[float]()
    for number in range(200):
        chances = draw.beta(0.3, 1.5, 3_000)
        chances[2_000:] = draw.beta(1, 1, 1_000)  # later answers are worse
        wrong = (draw.random(3_000) < chances).astype(float)
        predicted = (
            chances * trust if trust >= 0 else 1 - chances
        )  # or: the surer, the more often wrong
        sizes = np.linspace(500, 3_000, num_draws).astype(int)
        drawn = draw.integers(sizes)
        means, shares = (np.cumsum(values)[sizes - 1] / sizes for values in (predicted, wrong))
        truth = np.cumsum(shares) / np.arange(1, num_draws + 1)
        data = (wrong[drawn], predicted[drawn], means)
        misses += bool((bound.compute_log_wealth(truth, *data) >= -math.log(bound.ALPHA)).any())
        highs += [bound.bound_share(*data)] if number % 10 == 0 else []
    assert misses / 200 <= bound.ALPHA
    assert np.mean(highs) < (0.42 if trust == 1 else 0.5), "the share is 0.2 to 0.3"


def test_the_number_of_judgements_needed_is_about_that_of_simulated_draws() -> None:
    draw = np.random.default_rng(0)
    chances = np.full(5_000, 0.1)
    number = bound.count_needed(chances, chances, 0.2)
    assert number is not None
    wrong = (draw.random((200, number)) < 0.1).astype(float)
    constant = np.full(number, 0.1)
    highs = [bound.bound_share(row, constant, constant) for row in wrong]
    assert 0.18 < np.median(highs) < 0.22
    assert bound.count_needed(chances, chances, 0.1) is None


def test_a_server_records_what_it_answered(tmp_path: Path) -> None:
    folder = tmp_path / "record"
    feedback = tmp_path / "feedback.jsonl"
    plain = TrafficRecord(tmp_path / "plain", is_plain=True)
    for traffic in (TrafficRecord(folder), plain):
        with open_client(
            serve_as("luma", FAKE, feedback), settings=ServerSettings(record=traffic)
        ) as client:
            done = client.chat.completions.create(
                model="luma", messages=[{"role": "user", "content": MAIL}], n=2, user="ann@firm.com"
            )
    lines = read_lines(folder)
    assert [(line["index"], line["user"]) for line in lines] == [
        (index, load_record_key(folder).hash_user("ann@firm.com")) for index in (0, 1)
    ]
    assert {(line["assistant"], line["fingerprint"]) for line in lines} == {
        ("luma/prompt", FAKE.fingerprint)
    }
    assert "ann" not in json.dumps(lines)
    assert lines[0]["input"].startswith("Write to ")
    assert lines[0]["input"].endswith("@example.org about trains")
    (file,) = plain.folder.glob(record.FILES)
    line = json.loads(file.read_text().splitlines()[0])
    assert (line["id"], line["input"], line["answer"]) == (
        done.id,
        MAIL,
        done.choices[0].message.content,
    )
    assert (
        line["exchange"]
        == lines[0]["exchange"]
        == load_record_key(folder).hash_exchange([Message("user", MAIL)], line["answer"])
    )
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def read_lines(folder: Path) -> list[dict[str, object]]:
    files = sorted(folder.glob(record.FILES), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def fill_record(folder: Path, number: int, user: str = "", **options: float) -> None:
    """Records answers with the ids x0, x1, ..., each written before the next."""
    # type: ignore[arg-type]
    traffic = TrafficRecord(folder, **options)
    turns = [Message("user", "a")]
    more = {"user": load_record_key(folder).hash_user(user)} if user else {}
    for index in range(number):
        identity = {"id": f"x{index}", "index": 0, **more}
        traffic.add(identity, "run/prompt", FAKE, turns, FAKE.answer("a")).result(timeout=10)
    traffic.close()


def test_a_record_stops_without_an_answer_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "file"
    broken.touch()
    fill_record(broken, 3)
    (message,) = [entry.getMessage() for entry in caplog.records]
    assert message.startswith(f"The record in {broken} stopped (")


def test_a_record_is_bounded_by_days_and_by_size(tmp_path: Path) -> None:
    old, later = (tmp_path / f"requests-{year}-01-01-1-a.jsonl" for year in (2020, 2999))
    old.touch()
    later.touch()
    fill_record(tmp_path, 60, max_bytes=6_000)
    assert (old.exists(), later.exists()) == (False, True)
    names = [line["id"] for line in read_lines(tmp_path)]
    assert names == [f"x{number}" for number in range(60 - len(names), 60)], (
        "the oldest are deleted"
    )
    assert 3_000 < sum(file.stat().st_size for file in tmp_path.glob(record.FILES)) <= 6_000


def test_requests_are_deleted_by_id_and_by_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = copy_task(tmp_path)
    folder = tmp_path / "record"
    for user in ("", "ann", "ben"):
        fill_record(folder, 3, user)
    for name, remaining in (("x1", 6), ("ann", 4), ("x", 4), ("cy", 4)):
        assert etude(["watch", str(task), "--forget", name]) == 0
        assert len(read_lines(folder)) == remaining
    assert "Deleted 3 requests" in capsys.readouterr().out
    assert {line.get("user") for line in read_lines(folder)} == {
        None,
        load_record_key(folder).hash_user("ben"),
    }
    assert etude(["watch", str(task), str(task), "--forget", "x1"]) == 2


def to_line(number: int, question: str, run: str, **more: object) -> dict[str, object]:
    ids = {"id": f"r{number}", "index": 0, "time": f"2026-11-{1 + number // 100:02}T10:00:00+00:00"}
    return {**ids, "assistant": f"{run}/baseline", "input": question, "answer": "a", **more}


def test_new_questions_raise_an_alarm_and_the_others_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = copy_task(tmp_path)
    (run,) = (path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    usual = [str(row["input"]) for row in rows("answer", 300, seed=1)]
    new = [f"Where is parcel {number} of ann.lee@firm.com?" for number in range(200)]
    lines = [to_line(number, text, run, confidence=0.4) for number, text in enumerate(usual)]
    write_json_lines(tmp_path / "usual.jsonl", lines)
    assert etude(["watch", str(task), str(tmp_path / "usual.jsonl")]) == 0
    assert "No alarm: " in capsys.readouterr().out
    folder = tmp_path / "record"
    folder.mkdir()
    lines += [to_line(300 + number, text, run, limit="danger") for number, text in enumerate(new)]
    lines[7]["time"] = "2026-10-01T10:00:00+00:00"
    write_json_lines(
        folder / "requests-2026-11-01-1-a.jsonl", [*lines, to_line(900, "x", "other-1")]
    )
    with (folder / "requests-2026-11-01-1-a.jsonl").open("a") as out:
        out.write('{"id": "cut')
    assert etude(["watch", str(task), "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert 295 <= body["test"]["change"] <= body["test"]["alarm"] < 340
    assert body["change_time"].startswith("2026-11-0")
    assert body["far"]["value"] > 0.8
    assert body["groups"][0]["size"] == body["groups"][0]["num_limited"] >= 150
    assert "@example.org" in body["groups"][0]["typical"][0]
    assert [period["num_requests"] for period in body["periods"]] == [100] * 5
    assert body["periods"][0]["unsure"]["value"] == body["periods"][4]["limited"]["value"] == 1.0
    notes = " ".join(body["notes"])
    for part in (
        "by their words alone",
        "such as requests-2026-11-01-1-a.jsonl:502",
        "other-1",
        "backwards",
    ):
        assert part in notes
    page = (Path(body["folder"]) / "watch.html").read_text(encoding="utf-8")
    assert "Nothing is known" in page
    assert "ann.lee" not in page
    # A day's file is deleted, but the test goes on; and two people judge an answer.
    write_json_lines(folder / "requests-2026-11-01-1-a.jsonl", lines[:1])
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    said = {"assistant": f"{run}/baseline", "answer": "a", "thumb": "up"}
    for reviewer, question in (("ana", usual[0]), ("ben", usual[0]), ("ana", usual[1])):
        log.add(read_feedback({"reviewer": reviewer, "input": question, **said}))
    report = watch(task)
    assert (report.num_requests, report.num_compared) == (1, 500)
    assert report.test.alarm == body["test"]["alarm"]
    assert (report.right.value, report.right.n) == (1.0, 1)


def test_without_confidences_the_test_tells_how_many_judgements_are_needed(tmp_path: Path) -> None:
    file = write_json_lines(tmp_path / "requests.jsonl", [{"input": "x", "answer": "a"}])
    assert "as often as on the test (" in watch(copy_task(tmp_path, "classify"), file).needed


def test_a_record_without_requests_of_the_task_is_refused(tmp_path: Path) -> None:
    task = copy_task(tmp_path)
    for lines in ([], [to_line(0, "x", "other-1")]):
        file = write_json_lines(tmp_path / "requests.jsonl", lines)
        with pytest.raises(InputError, match="no requests of this task in the record"):
            watch(task, file)
    with pytest.raises(InputError, match="record: no requests of this task"):
        watch(task)


def test_questions_without_an_answer_are_picked_masked_and_become_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "randbelow", random.Random(0).randrange)
    task = copy_task(tmp_path)
    (run,) = (path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    answer = "Title: Parcels\nAges: 7"
    (tmp_path / "record").mkdir()
    known = [str(row["input"]) for row in rows("answer", 150)]  # in training, or in the sealed test
    new = [f"Where is parcel {number} of ann.lee@firm.com?" for number in range(6)]
    asked = [*known, *new, *new, "I want to kill myself"]
    lines = [
        to_line(number, text, run, answer=answer, confidence=0.4)
        for number, text in enumerate(asked)
    ]
    lines[-1] |= {"limit": "danger", "confidence": 0.0}
    far = [f"Will it rain in town {number}?" for number in range(40)]
    lines += [
        to_line(400 + number, text, run, answer="Ask about books.", limit="off_topic")
        for number, text in enumerate(far)
    ]
    write_json_lines(tmp_path / "record" / "requests-2026-11-01-1-a.jsonl", lines)
    assert etude(["watch", str(task), "--pick", "4"]) == 0
    out = capsys.readouterr().out
    assert "Queued 4 questions. Answer them with: " in out
    assert "Drawn at random, for the bound on wrong answers: the first 2" in out
    studio = Studio(task, method="baseline")
    drawn = [take_next(studio), take_next(studio)]
    assert all(item.draw for item in drawn)
    item = take_next(studio)
    assert not item.draw
    assert item.input[0].content.startswith("Where is parcel")
    assert "ann.lee" not in item.input[0].content
    assert (item.assistant, item.answer, item.confidence) == (f"{run}/baseline", answer, 0.4)
    studio.save_review(item, "ana", "", accepted=True)
    assert [(right.input, right.output) for right in studio.gathered_feedback.answers] == [
        (item.input, answer)
    ]
    assert watch(task).wrong is None, "a picked answer does not count"
    # The first drawn answer is skipped, and the second one is judged.
    studio.save_review(drawn[1], "ana", "", accepted=True)
    wrong = watch(task).wrong
    assert wrong is not None
    assert (wrong.num_judged, wrong.num_skipped, wrong.num_answers) == (1, 1, 162)
    assert "1 judged of 162" in format_wrong(wrong)[0]
    assert "1 drawn answer not judged, and counted as wrong" in format_wrong(wrong)[1]
    limits = [item.limit for item in pick_questions(task, number=12)[0] if not item.draw]
    assert limits == sorted(limits), "questions that a limit turned away come last"
    assert {*limits} == {"", "off_topic"}
    assert etude(["watch", str(task), "--random"]) == 2
    assert "add --pick 20" in capsys.readouterr().err.lower()
    assert studio.sync_queue().find(drawn[0].id), "a drawn answer waits until it is judged"
    counts = studio.sync_queue().count("picked", "ana")
    assert etude(["watch", str(task), "--forget", "nobody"]) == 0
    assert studio.sync_queue().count("picked").total == counts.done == 2, (
        "texts without a review are deleted"
    )
    assert etude(["watch", str(task), "--pick", "60", "--random"]) == 0
    while (item := studio.sync_queue().take_next("ana", "picked")) is not None:
        studio.save_review(item, "ana", "", accepted=True)
    assert etude(["watch", str(task)]) in (0, 1)
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"At most \d\d?(\.\d)?% of answers are wrong .* 61 judged of 162\)", out)
    wrong = watch(task).wrong
    assert wrong is not None
    assert (wrong.num_skipped, wrong.high < 0.2, wrong.high_alone < 0.2) == (0, True, True)


def take_next(studio: Studio) -> ReviewItem:
    """Takes the next picked question, and puts it at the end of the list."""
    item = studio.sync_queue().take_next("ana", "picked")
    assert item is not None
    studio.queue.release(item.id, is_last=True)
    return item


def test_selected_questions_are_unsure_and_differ() -> None:
    draw = np.random.default_rng(0)
    centres = np.eye(8)
    vectors = np.vstack([centres[number % 8] + draw.normal(0, 0.05, 8) for number in range(80)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    unsure = np.where(
        np.arange(80) % 8 < 4, 0.9, 0.01
    )  # the assistant knows the other four subjects
    distances = np.where(np.arange(80) % 8 == 3, 0.01, 1.0)  # one of the unsure subjects has rows
    selected = select_questions(vectors, distances, unsure, 3)
    assert sorted(number % 8 for number in selected) == [0, 1, 2]
    assert sorted(select_questions(vectors, distances, unsure, 100)) == [*range(80)], "each once"
