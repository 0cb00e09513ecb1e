"""Answers of an endpoint on disk, one line each as it arrives, so that none is asked for twice in a run."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict
from pathlib import Path

from etude.base.files import append_line, read_lines
from etude.task import Endpoint
from etude.types import Completion, Request


class Journal:
    """What one endpoint has answered, by what was asked, as a file keeps it; without a file it only counts."""

    def __init__(self, endpoint: Endpoint, file: Path | None = None) -> None:
        self.endpoint, self.file = endpoint, file
        self._lock = threading.Lock()
        self._known: dict[str, Completion] = {}
        self._number = 0
        self.tokens = (0, 0, 0)
        """Tokens of prompts, those of them that were cached, tokens of answers, of all that was answered."""
        for line in read_lines(file) if file and file.exists() else ():
            if line["endpoint"] == endpoint.title:
                self._take(line["asked"], Completion(**line["completion"]))

    def __len__(self) -> int:
        """Requests that were answered."""
        return self._number

    def get(self, asked: str) -> Completion | None:
        """What was answered to this; None where nothing was."""
        return self._known.get(asked)

    def add(self, asked: str, completion: Completion, by: str) -> None:
        """Keeps an answer, on disk before it returns, with the name that the model gave itself; if `asked` is "", it is
        only counted."""
        line = {"endpoint": self.endpoint.title, "by": by, "asked": asked, "completion": asdict(completion)}
        with self._lock:
            if self.file and asked:
                append_line(self.file, line)
            self._take(asked, completion)

    def _take(self, asked: str, done: Completion) -> None:
        self._number += 1
        if self.file and asked:
            self._known[asked] = done
        prompt, cached, answer = self.tokens
        self.tokens = prompt + done.prompt_tokens, cached + done.cached_tokens, answer + done.answer_tokens


def hash_of(endpoint: Endpoint, request: Request) -> str:
    """A hash of all that bears on an answer."""
    parts = [endpoint.url, endpoint.model, dict(endpoint.options), request.max_tokens, bool(request.choices)]
    turns = [[message.role, message.content] for message in request.messages]
    return hashlib.sha256(json.dumps([*parts, turns], sort_keys=True).encode()).hexdigest()[:32]
