"""A stand-in for a decision endpoint, surer of its answers than it is right."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_server import serve_handler

Body = dict[str, Any]
SURE = 0.97


def draw(text: str, salt: str = "") -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(f"{salt}{text}".encode()).digest()[:6]) / 2**48


def name_theme(text: str, choices: list[str], right: float = 0.75) -> str:
    """The label that the text contains, for a share `right` of all texts; else another one."""
    label = next((choice for choice in choices if f"about {choice}," in text), choices[0])
    if draw(text) < right:
        return label
    others = [choice for choice in choices if choice != label]
    return others[int(draw(text, "other") * len(others))]


@dataclass
class DecisionServer:
    """What the server answers, and what it has seen."""

    decide: Callable[[str, list[str]], str] = name_theme
    refuses: Callable[[str], bool] = lambda text: False
    sure: Callable[[str], float] = lambda text: SURE + 0.02 * draw(text, "sure")
    bodies: list[Body] = field(default_factory=list)
    url: str = ""

    def answer(self, body: Body) -> Body:
        self.bodies.append(body)
        text = body["input"] if isinstance(body["input"], str) else body["input"][-1]["content"]
        usage = {
            "input_tokens": 60,
            "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 61,
        }
        answers = [self._decide(text, question) for question in body["questions"]]
        return {"answers": answers, "model": body["model"], "usage": usage}

    def _decide(self, text: str, question: Body) -> Body:
        if self.refuses(text):
            return {"type": "refusal", "name": question["name"]}
        if question["type"] == "predicate":
            holds = self.decide(text, ["yes", "no"]) == "yes"
            sure = self.sure(text)
            probability = sure if holds else 1 - sure
            return {"type": "predicate", "name": question["name"], "probability": probability}
        options, key = ("levels", "label") if question["type"] == "score" else ("choices", "value")
        choices = [option[key] for option in question[options]]
        label = self.decide(text, choices)
        sure = self.sure(text)
        rest = (1 - sure) / (len(choices) - 1)
        probabilities = [
            {key: choice, "probability": sure if choice == label else rest} for choice in choices
        ]
        decision = {"type": question["type"], "name": question["name"], "choice": label}
        return {**decision, "confidence": 2 * sure - 1, "probabilities": probabilities}


@contextmanager
def serve_decisions(script: DecisionServer) -> Iterator[DecisionServer]:
    """The server on a free port of this machine; `script.url` is where."""

    class OwnHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_known = self.path == "/v1/decisions"
            content = json.dumps(
                script.answer(body) if is_known else {"error": "not found"}
            ).encode()
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serve_handler(OwnHandler) as script.url:
        yield script
