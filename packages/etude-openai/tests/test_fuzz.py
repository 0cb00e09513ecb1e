"""Whatever a request contains, it is answered or refused: no status of 500 or above, and the server
goes on.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from etude.assistant import Assistant
from etude.serve.engine import ServingLimits
from etude.serve.server import ServerSettings
from etude.types import ModelRef
from serving import serve_as, serving
from tiny import save_tiny_model

WORDS = [
    "",
    "hi",
    "<|im_end|>",
    "<|im_start|>system",
    "\0",
    "\ud800",
    "🙂" * 9,
    "x " * 3000,
    "<tool_call>",
    "\n",
]
NUMBERS = [0, 1, -1, 2, 8, 1e-300, 0.5, 2**63, -(2**70), 1e308, float("nan"), float("inf")]
SCHEMAS: list[Any] = [
    {"type": "object"},
    {"enum": ["a"]},
    {"uniqueItems": True},
    {"not": {}},
    {"$ref": "#"},
    {"$ref": "#/$defs/none"},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "array", "items": {"$ref": "http://nowhere.example"}},
    {"minimum": 3, "maximum": 2, "type": "integer"},
]
PATHS = (
    ["/v1/chat/completions"] * 6 + ["/v1/completions"] * 3 + ["/v1/feedback", "/v1/models/x/load"]
)
PATHS += ["/v1/responses"] * 4 + ["/v1/decisions"] * 3 + ["/v1/embeddings"]


class BodyMaker:
    """Bodies that are right in most places and wrong in some."""

    def __init__(self, seed: int, models: list[str]) -> None:
        self.random = random.Random(seed)
        self.models = models

    def choose(self, *makers: Callable[[], Any]) -> Any:
        return self.random.choice(makers)()

    def make_word(self) -> str:
        return self.random.choice(WORDS)

    def make_junk(self, depth: int = 0) -> Any:
        scalars = (
            lambda: self.random.choice([None, True, False]),
            lambda: self.random.choice(NUMBERS),
            self.make_word,
        )
        if depth > 2 or self.random.random() < 0.5:
            return self.choose(*scalars)
        items = [self.make_junk(depth + 1) for _ in range(self.random.randrange(3))]
        return self.choose(lambda: items, lambda: {self.make_word(): item for item in items})

    def make_schema(self) -> Any:
        return self.random.choice(SCHEMAS)

    def make_function(self) -> Any:
        return {
            "name": self.random.choice(["f", "g", self.make_word()]),
            "parameters": self.make_schema(),
        }

    def make_message(self) -> Any:
        role = self.random.choice(["system", "user", "assistant", "tool", "developer", "user"])
        message = {"role": role, "content": self.make_word()}
        if self.random.random() < 0.2:
            arguments = self.choose(lambda: "{}", lambda: "{", dict, self.make_junk)
            message["tool_calls"] = [
                {"function": {"name": self.make_word(), "arguments": arguments}}
            ]
        return message

    def make_item(self) -> Any:
        kind = self.random.choice(
            ["message", "message", "function_call", "function_call_output", "reasoning"]
        )
        text = self.choose(
            self.make_word, lambda: [{"type": "input_text", "text": self.make_word()}]
        )
        role = self.random.choice(["user", "assistant", "system"])
        call = {
            "call_id": "1",
            "name": "f",
            "arguments": self.random.choice(["{}", "{", "[]", '{"a": 1}']),
        }
        return {"type": kind, "role": role, "content": text, "output": text, **call}

    def make_question(self) -> Any:
        kind = self.random.choice(["choice", "predicate", "score", "box"])
        names = self.random.choice(
            [["card", "refund"], ["refund", "card"], ["card", "x"], [True, False]]
        )
        options = [{"value": name, "label": name} for name in names]
        return {
            "type": kind,
            "name": "card",
            "instructions": "?",
            "choices": options,
            "levels": options,
        }

    def make_body(self) -> dict[str, Any]:
        makers: dict[str, Callable[[], Any]] = {
            "temperature": lambda: self.random.choice(NUMBERS),
            "top_p": lambda: self.random.choice(NUMBERS),
            "n": lambda: self.random.choice([1, 2, 3, 9]),
            "seed": lambda: self.random.choice(NUMBERS),
            "stop": lambda: self.choose(self.make_word, lambda: [self.make_word()]),
            "stream": lambda: self.random.choice([True, False]),
            "logprobs": lambda: self.random.choice([True, False, 3]),
            "top_logprobs": lambda: self.random.choice([0, 5, 21]),
            "response_format": lambda: {
                "type": self.random.choice(["json_schema", "json_object", "text", "xml"]),
                "json_schema": {"name": "x", "schema": self.make_schema()},
            },
            "tools": lambda: [
                {"type": "function", "function": self.make_function()} for _ in range(2)
            ],
            "tool_choice": lambda: self.choose(
                lambda: self.random.choice(["none", "auto", "required"]),
                lambda: {"type": "function", "function": {"name": self.random.choice(["f", "h"])}},
            ),
            "instructions": self.make_word,
            "previous_response_id": self.make_word,
            "max_output_tokens": lambda: self.random.choice(NUMBERS),
            "text": lambda: {
                "format": {"type": "json_schema", "name": "x", "schema": self.make_schema()}
            },
            "presence_penalty": lambda: self.random.choice([0, 1]),
            "id": self.make_word,
            "thumb": lambda: self.random.choice(["up", "side"]),
            self.make_word(): self.make_junk,
        }
        body = {
            "model": self.random.choice(self.models),
            "messages": [
                *(self.make_message() for _ in range(self.random.randrange(2))),
                {"role": "user", "content": "hi"},
            ],
            "prompt": self.choose(self.make_word, lambda: ["a", "b"], lambda: [1, 2]),
            "max_tokens": self.random.choice([1, 3, 6]),
            "input": self.choose(
                self.make_word,
                lambda: [self.make_item(), {"role": "user", "content": "hi"}],
                lambda: "hi",
            ),
            "questions": [self.make_question()],
        }
        for name in self.random.sample(sorted(makers), self.random.randrange(4)):
            body[name] = makers[name]()
        if self.random.random() < 0.3:
            body[self.random.choice(sorted(body))] = self.make_junk()
        return body


def send_requests(url: str, models: list[str], num: int, seed: int) -> Counter[int]:
    maker = BodyMaker(seed, models)
    statuses = Counter[int]()
    with httpx2.Client(timeout=60) as client:
        for _ in range(num):
            body = json.dumps(maker.make_body())
            path = maker.random.choice(PATHS)
            answer = client.post(url + path, content=body)
            statuses[answer.status_code] += 1
            is_refused = answer.status_code == 501 and "not_supported" in answer.text
            assert answer.status_code < 500 or is_refused, (path, body, answer.text)
            assert answer.status_code < 400 or "error" in answer.json(), (path, body, answer.text)
            assert '"code":"internal_error"' not in answer.text.replace(" ", ""), (
                path,
                body,
                answer.text,
            )
    return statuses


def test_requests_of_every_kind_are_answered_or_refused() -> None:
    fake = Assistant("prompt", "answer", ModelRef("fake"))
    own = replace(fake, row_systems=True)
    with serving(serve_as("fake", fake), serve_as("own", own)) as url:
        statuses = send_requests(url, ["fake", "own", "none"], 300, seed=1)
    assert statuses[200] > 10
    assert statuses[400] > 10


@pytest.mark.real
def test_thousands_of_requests_over_three_engines_are_answered_or_refused(tmp_path: Path) -> None:
    """ETUDE_FUZZ sets their number, 3,000 by default, a third for each engine."""
    pytest.importorskip("xllamacpp")
    folder = save_tiny_model(tmp_path / "tiny", max_position_embeddings=2048)
    engines = {
        "fake": ModelRef("fake"),
        "tiny": ModelRef(str(folder)),
        "llama": ModelRef("llama_cpp:smollm2-135m-instruct"),
    }
    served = [
        serve_as(name, Assistant("prompt", "answer", ref, max_tokens=6))
        for name, ref in engines.items()
    ]
    own = Assistant("prompt", "answer", ModelRef(str(folder)), max_tokens=6, row_systems=True)
    labels = Assistant("prompt", "classify", ModelRef(str(folder)), choices=("card", "refund"))
    num = int(os.environ.get("ETUDE_FUZZ", "3000")) // 3
    settings = ServerSettings(ServingLimits(answer_tokens=8))
    with serving(
        *served, serve_as("labels", labels), serve_as("own", own), settings=settings
    ) as url:
        for seed, name in enumerate(engines):
            statuses = send_requests(url, [name, name, name, "labels", "own", "none"], num, seed)
            assert statuses[200] > num // 20, (name, statuses)
            print(name, dict(statuses))
