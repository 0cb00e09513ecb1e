"""What people say: kept once, whole after a kill, read by several writers at once."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from etude.errors import InputError
from etude.feedback import Feedback, FeedbackLog, read_feedback
from etude.types import Message

SAID = {
    "id": "1",
    "reviewer": "ana",
    "assistant": "run/prompt",
    "input": "Dragons?",
    "answer": "No.",
}


def entry(number: int | str, **said: object) -> Feedback:
    return read_feedback({**SAID, "id": str(number), "correction": "Title: Dragons", **said})


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    given = [
        entry(1, reason="wrong age"),
        entry(2, input=turns, thumb="down", correction=None),
        entry(3, choice="other", other="Yes.", correction=None),
        entry(4, flag=True, correction=None),
    ]
    assert all(log.add(each) for each in given)
    assert FeedbackLog(log.file).entries == given
    assert given[1].input == tuple(Message(turn["role"], turn["content"]) for turn in turns)  # type: ignore[arg-type]


def test_an_entry_that_is_sent_twice_is_kept_once(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    other = FeedbackLog(tmp_path / "feedback.jsonl")
    assert log.add(entry(1))
    assert not other.add(entry(1, correction="another"))
    assert other.add(entry(2))
    assert [each.id for each in log.entries] == ["1", "2"]
    assert log.entries[0].correction == "Title: Dragons"


def test_a_line_cut_by_a_kill_is_ignored_and_taken_away(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    log.add(entry(1))
    with log.file.open("a") as out:
        out.write('{"id": "2", "reviewer": "an')
    assert [each.id for each in FeedbackLog(log.file).entries] == ["1"]
    log.add(entry(3))
    assert [json.loads(line)["id"] for line in log.file.read_text().splitlines()] == ["1", "3"]


def test_threads_write_at_once_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    file = tmp_path / "feedback.jsonl"

    def write(log: FeedbackLog) -> None:
        for number in range(20):
            log.add(entry(number))

    shared = FeedbackLog(file)
    threads = [
        threading.Thread(target=write, args=(log,)) for log in (shared, shared, FeedbackLog(file))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [
        str(n) for n in range(20)
    ]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"correction": None}, "no feedback on the answer"),
        ({"correction": " "}, "the correction is empty"),
        ({"thumb": "sideways"}, "thumb"),
        ({"choice": "other"}, "must be given together"),
        ({"input": [{"role": "system", "content": "x"}]}, "end with a user turn"),
        ({"input": 7}, "input"),
        ({"reviewer": ""}, "reviewer"),
        ({"answer": "\ud800"}, "surrogates"),
    ],
)
def test_what_is_no_feedback_is_refused(body: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        entry(1, **body)


def test_a_line_that_is_no_feedback_is_named(tmp_path: Path) -> None:
    file = tmp_path / "feedback.jsonl"
    file.write_text(json.dumps(entry(1).line) + "\n{}\n")
    with pytest.raises(InputError, match=r"feedback.jsonl:2"):
        _ = FeedbackLog(file).entries


def test_what_was_confirmed_outlives_a_kill(tmp_path: Path) -> None:
    """A writer is killed while it writes: every entry that it has confirmed is there, once and
    whole.
    """
    file = tmp_path / "feedback.jsonl"
    code = (
        "import itertools, sys\n"
        "from pathlib import Path\n"
        "from etude.feedback import FeedbackLog, read_feedback\n"
        "log = FeedbackLog(Path(sys.argv[1]))\n"
        "said = {'reviewer': 'a', 'assistant': '', 'input': 'x', 'answer': 'y', 'thumb': 'up'}\n"
        "for number in itertools.count():\n"
        "    log.add(read_feedback({**said, 'id': sys.argv[2] + str(number)}))\n"
        "    print(sys.argv[2] + str(number), flush=True)\n"
    )
    confirmed: list[str] = []
    for name in "ab":
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(file), name], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout
        confirmed += [next(writer.stdout).strip() for _ in range(25)]
        writer.kill()
        confirmed += [line.strip() for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
    kept = [each.id for each in FeedbackLog(file).entries]
    assert set(confirmed) <= set(kept)
    assert len(kept) == len(set(kept)) <= len(confirmed) + 2
