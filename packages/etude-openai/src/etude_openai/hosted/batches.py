"""Batches of OpenAI's API: requests in a file, answered in the background; the responses go into
another file.

    BATCHES/
      batch_9c1d.../
        batch.json     the client's request
        state.json     when the batch reached each status; written by rename
        cancel         exists once the client has asked to cancel the batch
        responses.jsonl, errors.jsonl    a line for each request that was answered or refused

A kill loses at most the requests in progress: a request with a line is not answered again.
"""

import re
import secrets
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etude.base.files import Json, append_line, hash_text, list_lines, read_json, write_json
from etude.errors import quote_value
from etude.web.api_errors import ApiError
from etude_openai.hosted.file_store import FileStore, iter_json_lines, skip_unreadable

BATCH_ID = re.compile(r"batch_[0-9a-f]{24}")
EMBEDDINGS = "/v1/embeddings"
INPUTS = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/responses": "input",
    "/v1/decisions": "input",
    EMBEDDINGS: "input",
}
"""Endpoint of a batch -> the field that its requests must have besides the model."""
FINISHED = ("completed", "failed", "cancelled", "expired")
MAX_REQUESTS = 50_000
MAX_ISSUES = 100
"""The errors of an input file that a batch lists."""
WINDOW_SECONDS = 24 * 3600
"""A batch expires after this time: its unanswered requests are listed as errors."""


@dataclass(frozen=True)
class RequestBatch:
    """One batch folder; every property reads the disk."""

    folder: Path

    @property
    def request(self) -> Json:
        return read_json(self.folder / "batch.json")

    @property
    def state(self) -> Json:
        """state.json: status, its times, ids of the result files, errors of the input."""
        return read_json(self.folder / "state.json")

    @property
    def is_finished(self) -> bool:
        return self.state["status"] in FINISHED

    @property
    def is_cancelled(self) -> bool:
        return (self.folder / "cancel").exists()

    def change_state(self, status: str, **fields: Any) -> None:
        """Changes the status and records the time."""
        state = {**self.state, "status": status, f"{status}_at": int(time.time()), **fields}
        write_json(self.folder / "state.json", state)

    def fail(self, *issues: Json, **fields: Any) -> None:
        """Ends the batch with errors."""
        self.change_state(
            "failed", errors={"object": "list", "data": [*issues[:MAX_ISSUES]]}, **fields
        )

    def add_line(self, custom_id: str, status: int, request_id: str, body: Json) -> None:
        """Saves the response to one request; a status other than 200 makes it an error."""
        response = {"status_code": status, "request_id": request_id, "body": body}
        line = {
            "id": f"batch_req_{secrets.token_hex(12)}",
            "custom_id": custom_id,
            "response": response,
            "error": body.get("error"),
        }
        append_line(self.folder / ("responses.jsonl" if status == 200 else "errors.jsonl"), line)

    def list_responses(self) -> tuple[list[Json], list[Json]]:
        """The lines of responses.jsonl and of errors.jsonl."""
        return list_lines(self.folder / "responses.jsonl"), list_lines(self.folder / "errors.jsonl")

    def iter_unanswered(self, content: Path) -> Iterator[Json]:
        """Requests of the input file that have no line yet."""
        answered = {line["custom_id"] for lines in self.list_responses() for line in lines}
        for _, line in iter_json_lines(content):
            if line["custom_id"] not in answered:
                yield line

    def describe(self) -> Json:
        """The batch as the API returns it."""
        request = self.request
        state = self.state
        responses, errors = self.list_responses()
        times = {f"{status}_at": state.get(f"{status}_at") for status in TIMED}
        return {
            "id": self.folder.name,
            "object": "batch",
            "endpoint": request["endpoint"],
            "errors": state.get("errors"),
            "input_file_id": request["input_file_id"],
            "completion_window": request["completion_window"],
            "status": "cancelling"
            if self.is_cancelled and not self.is_finished
            else state["status"],
            "output_file_id": state.get("output_file_id"),
            "error_file_id": state.get("error_file_id"),
            "created_at": request["created_at"],
            "expires_at": request["created_at"] + WINDOW_SECONDS,
            "cancelling_at": int((self.folder / "cancel").stat().st_mtime)
            if self.is_cancelled
            else None,
            **times,
            "request_counts": {
                "total": state.get("total", 0),
                "completed": len(responses),
                "failed": len(errors),
            },
            "usage": _add_usage(responses),
            "metadata": request["metadata"] or {},
        }


TIMED = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelled")


def _add_usage(responses: list[Json]) -> Json:
    used = [line["response"]["body"].get("usage") or {} for line in responses]
    prompt, answer = (
        sum(usage.get(chat_key, usage.get(key, 0)) for usage in used)
        for chat_key, key in (
            ("prompt_tokens", "input_tokens"),
            ("completion_tokens", "output_tokens"),
        )
    )
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + answer,
    }


@dataclass(frozen=True)
class BatchStore:
    """All batches of a server."""

    folder: Path
    files: FileStore

    @property
    def batches(self) -> list[RequestBatch]:
        folders = (
            folder for folder in self.folder.glob("batch_*") if (folder / "state.json").exists()
        )
        batches = skip_unreadable(map(RequestBatch, folders))
        return sorted(batches, key=lambda batch: batch.request["submitted"], reverse=True)

    def create(self, fields: Json) -> RequestBatch:
        """Makes a batch. Raises ApiError for an unsupported endpoint. An unknown file makes the
        batch fail.
        """
        if fields["endpoint"] not in INPUTS:
            message = (
                f"Invalid value: '{fields['endpoint']}'. Supported values are: "
                f"{', '.join(map(repr, INPUTS))}."
            )
            raise ApiError(400, message, "endpoint", "invalid_value")
        batch = RequestBatch(self.folder / f"batch_{secrets.token_hex(12)}")
        times = {"created_at": int(time.time()), "submitted": time.time()}
        write_json(batch.folder / "batch.json", fields | times)
        write_json(batch.folder / "state.json", {"status": "validating"})
        return batch

    def get(self, batch_id: str) -> RequestBatch:
        """The batch of an id. Raises ApiError if there is none."""
        folder = self.folder / batch_id
        if not BATCH_ID.fullmatch(batch_id) or not (folder / "state.json").exists():
            raise ApiError(404, f"No batch found with id '{batch_id}'.", "id")
        return RequestBatch(folder)

    def cancel(self, batch_id: str) -> RequestBatch:
        """Asks a batch to stop. Raises ApiError if it has ended."""
        batch = self.get(batch_id)
        if batch.is_finished:
            raise ApiError(409, f"Cannot cancel a batch with status '{batch.state['status']}'.")
        (batch.folder / "cancel").touch()
        return batch

    def validate(self, batch: RequestBatch, models: Collection[str]) -> bool:
        """Checks every line of the input file; one error makes the batch fail. Returns whether the
        batch may run.
        """
        request = batch.request
        content = self.files.find(request["input_file_id"])
        if content is None:
            issues = [
                _issue(
                    "invalid_request", f"Cannot find file {request['input_file_id']}.", None, None
                )
            ]
            total = 0
        else:
            requests = list(iter_json_lines(content))
            issues = list(_check_requests(requests, request["endpoint"], models))
            total = len(requests)
        if issues:
            batch.fail(*issues, total=total)
            return False
        batch.change_state("in_progress", total=total)
        return True

    def finish(self, batch: RequestBatch, status: str) -> None:
        """Stores the result files and sets the final status of the batch: failed if the files
        exceed the quota.
        """
        if batch.state["status"] != "finalizing":
            batch.change_state("finalizing")
        ids: dict[str, str] = {}
        try:
            for name, key in (
                ("responses.jsonl", "output_file_id"),
                ("errors.jsonl", "error_file_id"),
            ):
                if (batch.folder / name).exists():
                    ids[key] = self._store_result(batch.folder / name)
        except ApiError as error:
            issue = _issue(
                "quota_exceeded", f"The results cannot be stored. {error.message}", None, None
            )
            batch.fail(issue, **ids)
        else:
            batch.change_state(status, **ids)

    def _store_result(self, file: Path) -> str:
        name = f"{file.parent.name}_{file.name}"
        file_id = f"file-{hash_text(name, 24)}"
        if self.files.find(file_id) is None:
            with file.open("rb") as content:
                self.files.store(content, name, "batch_output", file_id=file_id)
        return file_id


def _issue(code: str, message: str, param: str | None, line: int | None) -> Json:
    return {"code": code, "message": message, "param": param, "line": line}


def _check_requests(
    requests: list[tuple[int, Any]], endpoint: str, models: Collection[str]
) -> Iterator[Json]:
    if not requests:
        yield _issue("empty_file", "The input file is empty.", None, None)
    if len(requests) > MAX_REQUESTS:
        yield _issue(
            "too_many_requests", f"A batch has at most {MAX_REQUESTS:,} requests.", None, None
        )
    seen: set[str] = set()
    for number, line in requests:
        if isinstance(line, dict):
            yield from _check_line(line, number, endpoint, models, seen)
        else:
            reason = f": {line}" if isinstance(line, ValueError) else ", or it is not an object"
            message = f"This line is not parseable as valid JSON{reason}."
            yield _issue("invalid_json_line", message, None, number)


def _check_line(
    line: Json, number: int, endpoint: str, models: Collection[str], seen: set[str]
) -> Iterator[Json]:
    for param, expected in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if not isinstance(line.get(param), expected):
            message = f"Missing required parameter: '{param}'."
            yield _issue("missing_required_parameter", message, param, number)
            return
    custom_id = line["custom_id"]
    body = line["body"]
    for param in ("model", INPUTS[endpoint]):
        if param not in body:
            message = f"Missing required parameter: '{param}' in the body."
            yield _issue("missing_required_parameter", message, f"body.{param}", number)
    if custom_id in seen:
        message = f"The custom_id '{custom_id}' has already been used in this batch."
        yield _issue("duplicate_custom_id", message, "custom_id", number)
    seen.add(custom_id)
    if line["url"] != endpoint or line["method"] != "POST":
        message = (
            "This request does not match the url and method of the batch's endpoint: POST "
            f"{endpoint}."
        )
        yield _issue("invalid_url", message, "url", number)
    if body.get("stream"):
        yield _issue(
            "streaming_unsupported", "Streaming is not supported in batches.", "body.stream", number
        )
    if "model" in body and not (isinstance(body["model"], str) and body["model"] in models):
        message = (
            f"The provided model {quote_value(body['model'])} is not supported by this server."
        )
        yield _issue("model_not_found", message, "body.model", number)
