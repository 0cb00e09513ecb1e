"""Python graders: what they compute, and attacks that the sandbox stops."""

import socket
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from etude.errors import InputError
from etude.graders.grade import Grade, Tools, grade, validate_grader
from etude.graders.sandbox import find_obstacle, run_python
from etude.hosted.stores import HostedStores
from serving import serving

OBSTACLE = find_obstacle()
pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=f"python graders cannot run here: {OBSTACLE}")
TOOLS = Tools(run_python=run_python)
FLAG = "python_grader_runtime_error"
FORK = "import os\ndef grade(sample, item):\n    while True:\n        os.fork()"
FILL = """
def grade(sample, item):
    number = 0
    while True:
        number += 1
        with open(f"/tmp/{number}", "wb") as file:
            file.write(bytes(10_000_000))
"""
READ = "def grade(sample, item):\n    return float(len(open(item['file']).read()))"
CONNECT = "import socket\ndef grade(sample, item):\n    socket.create_connection(('127.0.0.1', item['port']))"
WRITE = "import json\ndef grade(sample, item):\n    open(json.__file__ + '.py', 'w').write('#')"
SHARE = "import ctypes\ndef grade(sample, item):\n    raise OSError(ctypes.CDLL(None).unshare(0x10000000))"
FLOOD = """
import os
def grade(sample, item):
    for descriptor in range(3, 64):
        try:
            while True:
                os.write(descriptor, b"x" * 100_000)
        except OSError:
            pass
    return 1.0
"""
NAN = "import os\ndef grade(sample, item):\n    os.write(3, b'{\"score\": NaN}')\n    os._exit(0)"
SLEEP = "import ctypes, time\nctypes.CDLL(None).prctl(1, 0)\ndef grade(sample, item):\n    time.sleep(1e6)"
SPIN = "import signal\ndef grade(sample, item):\n    signal.signal(14, signal.SIG_IGN)\n    while True: pass"
ALLOCATE = "def grade(sample, item):\n    return float(len(bytearray(3 << 30)))"


def python(source: str, **settings: Any) -> dict[str, Any]:
    return {"type": "python", "name": "code", "source": source, **settings}


def test_a_grader_reads_sample_and_item_and_may_import_packages() -> None:
    source = """
import re
from rapidfuzz import fuzz

def grade(sample, item):
    print("this goes nowhere")
    return fuzz.ratio(sample["output_text"], item["answer"]) / 100
"""
    assert run_python(source, {"output_text": "abcd"}, {"answer": "abcd"}) == (1.0, "", "")
    result = grade(python(source, pass_threshold=0.4), {"answer": "abce"}, {"output_text": "abcd"}, TOOLS)
    assert result == Grade(0.75, True)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (FORK, "temporarily unavailable"),
        (FILL, "No space left"),
        (READ, "No such file"),
        (CONNECT, "not permitted"),
        (WRITE, "Read-only"),
        (SHARE, "OSError: -1"),
        (FLOOD, "stopped"),
        (NAN, "stopped"),
        (ALLOCATE, "MemoryError"),
        pytest.param(SLEEP, "it has 1 s", marks=pytest.mark.real),
        pytest.param(SPIN, "it has 1 s", marks=pytest.mark.real),
        ("def grade(sample, item):\n    return 'yes'", "not str"),
        ("def grade(sample, item):\n    return float('nan')", "not a number"),
        ("import os\nos._exit(0)", "exited without a result"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("score = 1", "KeyError: 'grade'"),
    ],
)
def test_an_attack_and_an_error_end_with_the_flag(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "keys.jsonl").write_text("the key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        item = {"file": str(tmp_path / "keys.jsonl"), "port": server.getsockname()[1]}
        started = time.monotonic()
        # Only what does not end by itself has to reach the limit of time; the others may be slow on a busy machine.
        seconds = 1 if words in ("it has 1 s", "stopped") else 5
        score, flag, detail = run_python(source, {}, item, seconds=seconds)
    assert (score, flag) == (0.0, FLAG)
    assert words in detail
    assert time.monotonic() - started < 10


def test_errors_in_the_source_are_reported_when_the_grader_is_validated() -> None:
    with pytest.raises(InputError, match="cannot be compiled"):
        validate_grader(python("def grade(sample, item)"), TOOLS)
    with pytest.raises(InputError, match="too long"):
        validate_grader(python("#" * 256_001), TOOLS)
    with pytest.raises(InputError, match="--python-graders"):
        validate_grader(python("x = 1"), Tools())
    validate_grader(python("raise ValueError"), TOOLS)  # only compiled


def test_a_run_that_a_server_without_the_tools_continues_has_errors() -> None:
    assert grade(python("x = 1"), {}, {}, Tools()).errors == ("python_grader_server_error",)
    judge = {"type": "score_model", "name": "judge", "model": "gone", "input": []}
    assert grade(judge, {}, {}, Tools()).errors == ("model_grader_server_error",)


def test_the_api_reports_the_error(tmp_path: Path) -> None:
    (tmp_path / "keys.jsonl").write_text("the key")
    stores = HostedStores(tmp_path / "data", {}, tools=TOOLS)
    with serving(hosted=stores) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        graders = client.fine_tuning.alpha.graders
        item = {"file": str(tmp_path / "keys.jsonl")}
        result: Any = graders.run(grader=python(READ), model_sample="x", item=item)
        right = "def grade(sample, item):\n    return float(sample['output_text'] == 'x')"
        both = {"one": python(right), "two": python(right.replace("== 'x'", "== 'y'"))}
        multi: Any = {"type": "multi", "name": "m", "graders": both, "calculate_output": "one + two"}
        assert graders.run(grader=multi, model_sample="x").reward == 1.0
    assert (result.reward, result.metadata.errors.python_grader_runtime_error) == (0.0, True)
    assert "No such file" in result.metadata.errors.python_grader_runtime_error_details
