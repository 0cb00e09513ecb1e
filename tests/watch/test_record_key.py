"""What a record has only as a hash cannot be found by trying all values."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from etude.assistant import Assistant
from etude.cli import main as etude
from etude.errors import InputError
from etude.feedback import FeedbackLog, read_feedback
from etude.types import Message, ModelRef
from etude.watch.record import FILES, TrafficRecord
from etude.watch.record_key import VARIABLE, RecordKey, load_record_key
from etude.watch.watching import watch
from real_runs import copy_task

FAKE = Assistant("prompt", "answer", ModelRef("fake"))
Hash = Callable[[str], str]
SECRETS = {
    "My PIN is {}": [f"{number}" for number in range(4700, 4800)],
    "I was born on {}": [f"1984-05-{day:02}" for day in range(1, 29)],
    "Call me on {}": [f"+49 30 9018{number:04}" for number in range(100)],
}
"""Texts, and all values that could stand in each."""


def list_questions() -> Iterator[str]:
    for text, values in SECRETS.items():
        for value in values:
            yield text.format(value)


def write_record(folder: Path, questions: Sequence[str]) -> list[dict[str, str]]:
    """Records questions of a user who is named like the question."""
    traffic = TrafficRecord(folder)
    for number, question in enumerate(questions):
        ids = {"id": f"x{number}", "index": 0, "user": traffic.key.hash_user(question)}
        turns = [Message("user", question)]
        traffic.add(ids, "run/prompt", FAKE, turns, FAKE.answer("a")).result(timeout=10)
    traffic.close()
    (file,) = folder.glob(FILES)
    return [json.loads(line) for line in file.read_text().splitlines()]


def list_hashes(line: dict[str, str], guesses: Sequence[bytes]) -> list[Hash]:
    """The hashes of a question that somebody can compute who has the line and guesses keys."""
    answer = line["answer"]

    def hash_plainly(question: str) -> str:
        pairs = [("user", question)]
        return hashlib.sha256(repr((pairs, answer)).encode()).hexdigest()[:16]

    def hash_user_plainly(question: str) -> str:
        return hashlib.sha256(repr(([], question)).encode()).hexdigest()[:16]

    hashes: list[Hash] = [hash_plainly, hash_user_plainly]
    for guess in guesses:
        key = RecordKey(guess)
        hashes.append(key.hash_user)
        hashes.append(lambda text, key=key: key.hash_exchange([Message("user", text)], answer))
    return hashes


def recover(line: dict[str, str], guesses: Sequence[bytes]) -> set[str]:
    """The questions whose hash is in the line."""
    wanted = {line["exchange"], line["user"]}
    found = set[str]()
    for compute in list_hashes(line, guesses):
        found |= {question for question in list_questions() if compute(question) in wanted}
    return found


def test_no_value_is_recovered_from_a_masked_record(tmp_path: Path) -> None:
    questions = [*list_questions()][3::11]
    lines = write_record(tmp_path / "record", questions)
    assert len(lines) >= 20
    assert not {line["input"] for line in lines} & {*questions}
    for question, line in zip(questions, lines, strict=True):
        guesses = [b"", bytes(32), line["key"].encode(), line["id"].encode(), b"etude watch"]
        assert not recover(line, guesses)
        assert recover(line, [load_record_key(tmp_path).secret]) == {question}, "with the key"


def test_the_key_is_private_and_outlives_a_restart(tmp_path: Path) -> None:
    first, second = (write_record(tmp_path / name, ["My PIN is 4711"])[0] for name in ("a", "b"))
    assert (first["exchange"], first["user"]) == (second["exchange"], second["user"])
    file = Path(os.environ[VARIABLE])
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    for folder in ("a", "b"):
        for written in (tmp_path / folder).iterdir():
            assert file.read_text() not in written.read_text()


def test_servers_that_start_at_once_create_one_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from etude.watch.record_key import load_record_key;"
        "print(load_record_key(Path('record')).id)"
    )
    environment = {**os.environ, VARIABLE: str(tmp_path / "new" / "record.key")}
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
        for _ in range(3)
    ]
    names = {process.communicate()[0] for process in processes}
    assert len(names) == 1
    assert len(names.pop().strip()) == 8


def test_a_key_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.key").touch()
    (tmp_path / "file").touch()
    for name, message in (
        ("record/record.key", "must not be inside the record"),
        ("empty.key", "not a key of 64 hexadecimal digits"),
        ("file/record.key", "cannot be read or created"),
    ):
        monkeypatch.setenv(VARIABLE, str(tmp_path / name))
        with pytest.raises(InputError, match=message):
            TrafficRecord(tmp_path / "record")


def test_watch_says_that_a_record_has_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = copy_task(tmp_path)
    (run,) = (path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    traffic = TrafficRecord(tmp_path / "record")
    turns = [Message("user", "Where is it?")]
    answer = FAKE.answer("a")
    ids = {"id": "x", "index": 0}
    traffic.add(ids, f"{run}/baseline", FAKE, turns, answer).result(timeout=10)
    traffic.close()
    said = {"reviewer": "ana", "assistant": "", "input": "Where is it?", "thumb": "up"}
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    log.add(read_feedback({**said, "answer": answer.text}))
    report = watch(task)
    assert report.right is not None
    assert "recorded with a key other" not in " ".join(report.notes)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other.key"))
    report = watch(task)
    assert report.right is None
    assert "1 request recorded with a key other than" in " ".join(report.notes)
    assert etude(["watch", str(task), "--forget", "x"]) == 0
