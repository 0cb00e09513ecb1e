"""Send one request over HTTP until it is answered, with time-outs, a pace and back-off. Writes no
files.

Temporary errors (429, 500, a time-out, a cut connection, an answer that is not JSON) are retried
after a wait. The upper limit of the wait doubles at each attempt, and the wait is random below it,
so requests that failed at the same time are not retried at the same time (full jitter, Brooker
2015).
"""

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from etude.base.files import Json, parse_json, parse_storable_json
from etude.errors import ModelError, ServiceError, quote_value
from etude.task import Endpoint

COMPLETIONS = "chat/completions"  # path of a request below the endpoint's URL
ATTEMPTS = 8
CONNECT_ATTEMPTS = 3  # Attempts if no server listens at the URL
# Seconds of back-off before jitter: the first, doubled at each attempt, and the upper limit.
FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
MAX_PAUSE = 300.0  # Longest pause in seconds that an endpoint may request
RETRYABLE_STATUSES = (408, 409, 425, 429)  # Statuses below 500 with which a retry may succeed
# Keys of at least this length are also removed from answers. Shorter ones are not: local servers
# accept keys such as `none` or `test`, which occur in right answers.
MIN_SECRET_LENGTH = 8


class RetryableError(Exception):
    """An error after which a retry may succeed. `wait` is the pause that the endpoint requests, in
    seconds.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class RefusedError(ModelError):
    """The endpoint rejects the request. `reason` is its message; `parameter` is the rejected
    member, if known.
    """

    def __init__(self, message: str, reason: str, parameter: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.parameter = parameter


class Client:
    """Posts to one endpoint from several threads. When `stopped` is set, waits end and nothing is
    sent again.
    """

    def __init__(
        self, endpoint: Endpoint, stopped: threading.Event, first_wait: float = FIRST_WAIT
    ) -> None:
        self.endpoint = endpoint
        self.stopped = stopped
        self.first_wait = first_wait
        self._key = os.environ.get(endpoint.key, "").strip() if endpoint.key else ""
        if endpoint.key and not (self._key and self._key.isascii()):
            problem = (
                "is not set" if not self._key else "has characters that are not allowed in a key"
            )
            raise ModelError(
                f"The key of {endpoint.title} {problem}. Run: export {endpoint.key}=YOUR_KEY"
            )
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(
                endpoint.timeout, connect=min(10.0, endpoint.timeout), pool=None
            ),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=endpoint.at_once),
        )
        weakref.finalize(self, self._http.close)
        self._lock = threading.Lock()
        self._next_turn = 0.0

    def request_answer(
        self,
        body: Json,
        path: str = COMPLETIONS,
        read: Callable[[Json], object] = lambda answer: answer["choices"][0]["message"]["content"],
    ) -> tuple[Json, float]:
        """Return the endpoint's answer and the seconds it took. `read` raises KeyError, IndexError,
        TypeError or ValueError if it cannot be used.

        Raises RefusedError, or ServiceError after the last attempt.
        """
        for attempt in range(ATTEMPTS):
            self._wait_for_turn()
            started = time.perf_counter()
            try:
                return self._send(body, path, read), time.perf_counter() - started
            except httpx2.HTTPError as error:
                failure = RetryableError(f"{type(error).__name__}: {error}".removesuffix(": "))
                num_attempts = (
                    CONNECT_ATTEMPTS if isinstance(error, httpx2.ConnectError) else ATTEMPTS
                )
            except RetryableError as error:
                failure = error
                num_attempts = ATTEMPTS
            if attempt + 1 == num_attempts or failure.wait > MAX_PAUSE:
                break
            if failure.wait:  # requested by the endpoint, so all threads wait
                with self._lock:
                    self._next_turn = max(self._next_turn, time.monotonic() + failure.wait)
            self._sleep(random.uniform(0, min(LONGEST_WAIT, self.first_wait * 2**attempt)))
        remedy = " Is the server running?" if num_attempts == CONNECT_ATTEMPTS else ""
        reason = self._mask_key(str(failure))
        raise ServiceError(
            f"{self.endpoint.title} did not answer in {attempt + 1} attempts ({reason}).{remedy}"
        )

    def stream(self, body: Json) -> Iterator[str]:
        """Yield the pieces of an answer. Raises as `stream_chunks`."""
        return (piece for chunk in self.stream_chunks(body) if (piece := read_chunk_text(chunk)))

    def stream_chunks(self, body: Json) -> Generator[Json, None, None]:
        """Yield the chunks of an answer. Raises ModelError if it is refused or cut short."""
        is_done = False
        self._wait_for_turn()
        try:
            with self._http.stream(
                "POST", self._url(COMPLETIONS), json={**body, "stream": True}
            ) as response:
                if response.status_code != 200:
                    self._check_status(response, response.read())
                for event in httpx2.EventSource(response):
                    if is_done := event.data.strip() == "[DONE]":
                        break
                    chunk = parse_storable_json(event.data)
                    read_chunk_text(chunk)  # raises if it is not a chunk
                    yield chunk
        except (httpx2.HTTPError, RetryableError, ValueError, AttributeError, TypeError) as error:
            raise ModelError(
                f"{self.endpoint.title} stopped answering: {self._mask_key(str(error))}. Send the "
                "request again."
            ) from None
        if not is_done:
            raise ModelError(
                f"{self.endpoint.title} stopped before the end of the answer. Send the request "
                "again."
            )

    def _send(self, body: Json, path: str, read: Callable[[Json], object]) -> Json:
        with self._http.stream("POST", self._url(path), json=body) as response:
            # this time-out is for the whole body; the one of httpx2 is for each read
            deadline = time.monotonic() + self.endpoint.timeout
            blocks = []
            for block in response.iter_bytes():
                blocks.append(block)
                if time.monotonic() > deadline:
                    raise RetryableError(f"no complete answer within {self.endpoint.timeout:g} s")
            content = b"".join(blocks)
            if len(self._key) >= MIN_SECRET_LENGTH:
                content = content.replace(self._key.encode(), b"***")
            self._check_status(response, content)
        try:
            answer = parse_storable_json(content.decode())
            read(answer)
        except (ValueError, KeyError, IndexError, TypeError):
            reason = f"the answer does not fit {path}: {quote_value(content[:80])}"
            raise RetryableError(reason) from None
        return dict(answer)

    def _check_status(self, response: httpx2.Response, content: bytes) -> None:
        """Raise RetryableError or RefusedError for every status but 200."""
        status = response.status_code
        if status == 200:
            return
        message, code, parameter = _parse_error(content)
        reason = f"HTTP {status}" + (f": {message}" if message else "")
        if (status >= 500 or status in RETRYABLE_STATUSES) and code != "insufficient_quota":
            raise RetryableError(reason, _parse_retry_after(response.headers.get("retry-after")))
        raise RefusedError(self._format_refusal(status, self._mask_key(reason)), message, parameter)

    def _format_refusal(self, status: int, reason: str) -> str:
        endpoint = self.endpoint
        remedy = "Correct the task file."
        if status in (401, 403):
            credential = f"the key in {endpoint.key}" if endpoint.key else "requests without a key"
            remedy = f"It does not accept {credential}. Set a valid key."
        elif status == 429:
            remedy = "The account's quota is used up. Raise it."
        elif status == 404:
            names = ", ".join(quote_value(name) for name in self.list_models()[:20])
            hint = (
                f"its models are {names}. Correct `model:`."
                if names
                else "correct `endpoint:` (it may end in /v1)."
            )
            remedy = f"It may not have {endpoint.model}: {hint}"
        elif "context" in reason.casefold():
            remedy = (
                "Set `context:`, next to `endpoint:`, to the largest number of tokens that it "
                "accepts."
            )
        return f"{endpoint.title} refuses the request ({reason}). {remedy}"

    def list_models(self) -> list[str]:
        """List the names of the endpoint's models; none if it does not tell them."""
        try:
            models = parse_json(self._http.get(self._url("models")).text)["data"]
            return [str(model["id"]) for model in models]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return []

    def request_change(self, path: str, body: Json) -> None:
        """Send a request whose answer is only its status. Raises ServiceError with the reason for a
        refusal.
        """
        try:
            response = self._http.post(self._url(path), json=body)
        except httpx2.HTTPError as error:
            raise ServiceError(f"{type(error).__name__}: {self._mask_key(str(error))}") from error
        if response.status_code != 200:
            message = _parse_error(response.content)[0]
            raise ServiceError(
                f"HTTP {response.status_code}: {self._mask_key(message)}".removesuffix(": ")
            )

    def _url(self, path: str) -> str:
        return f"{self.endpoint.url}/{path}"

    def _mask_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _wait_for_turn(self) -> None:
        """Wait as long as the endpoint's pause and the user's pace require."""
        interval = 60 / self.endpoint.per_minute if self.endpoint.per_minute else 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next_turn)
            self._next_turn = max(self._next_turn, turn + interval) if interval else self._next_turn
        self._sleep(turn - now)

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(max(0.0, seconds)):
            raise ServiceError(f"Stopped while waiting for {self.endpoint.title}.")


def read_chunk_text(chunk: Json) -> str:
    """Return the text of a chunk, "" if it has none."""
    choices = chunk.get("choices") or []
    return "".join(str((choice.get("delta") or {}).get("content") or "") for choice in choices)


def _parse_error(content: bytes) -> tuple[str, str, str]:
    """Return message, code and parameter of an error in OpenAI's format; of another body, its first
    characters.
    """
    try:
        error: Any = parse_json(content.decode())
        error = error.get("error", error)
        if not isinstance(error, dict):
            return quote_value(str(error), 300), "", ""
        message = error.get("message") or error.get("detail") or ""
        return (
            quote_value(str(message), 300),
            str(error.get("code") or ""),
            str(error.get("param") or ""),
        )
    except (ValueError, AttributeError):
        return quote_value(content[:200].decode(errors="replace")) if content else "", "", ""


def _parse_retry_after(value: str | None) -> float:
    """Convert a Retry-After header, a number or a date, to seconds."""
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(value)).timestamp() - time.time())
    except ValueError:
        return 0.0
