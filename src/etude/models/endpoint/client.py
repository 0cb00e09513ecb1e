"""One question over HTTP until it is answered: time-out, pace, back-off with jitter. Nothing here writes a file.

What passes (429, 500, a time-out, a cut connection, an answer that is not JSON) is sent again after a wait. The longest
wait doubles at each attempt, and the wait is drawn at random below it, so that requests which failed together do not
come back together (full jitter, Brooker 2015).
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from etude.base.files import Json, parse_json
from etude.errors import ModelError, quote_value
from etude.task import Endpoint

ATTEMPTS = 8
CONNECTS = 3
"""Attempts where nothing listens at the URL."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds of back-off before jitter: the first, doubled at each attempt, and the most."""
PATIENCE = 300.0
"""Seconds for which an endpoint may ask us to wait."""
PASSING = (408, 409, 425, 429)
"""Statuses below 500 that may be gone at the next attempt."""
SECRET = 8
"""Shortest key, in characters, that is also removed from answers. Local servers take keys such as `none` or `test`,
which right answers contain."""
RESUME = "What was answered is kept: run the same command again to go on."


class PassingError(Exception):
    """What may be gone at the next attempt; `wait` are the seconds that the endpoint asks for."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class RefusedError(ModelError):
    """The endpoint does not take the request; `said` is why, `parameter` which member it does not take."""

    def __init__(self, message: str, said: str, parameter: str) -> None:
        super().__init__(message)
        self.said, self.parameter = said, parameter


class Client:
    """Posts to one endpoint from several threads. `first_wait` is that of the back-off."""

    def __init__(self, endpoint: Endpoint, first_wait: float = FIRST_WAIT) -> None:
        self.endpoint, self.first_wait = endpoint, first_wait
        self._key = _key(endpoint)
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(endpoint.timeout, connect=min(10.0, endpoint.timeout), pool=None),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=endpoint.at_once),
        )
        weakref.finalize(self, self._http.close)
        self._lock, self._free = threading.Lock(), 0.0
        self.stopped = threading.Event()
        """Set where nobody waits for an answer any more: what is under way ends, nothing is sent again."""

    def answer(self, body: Json) -> tuple[Json, float]:
        """The endpoint's answer with its first choice checked, and the seconds that it took.

        Raises RefusedError, or ModelError after the last attempt.
        """
        for attempt in range(ATTEMPTS):
            self._wait_for_turn()
            started = time.perf_counter()
            try:
                return self._once(body), time.perf_counter() - started
            except httpx2.HTTPError as error:
                found = PassingError(f"{type(error).__name__}: {error}".removesuffix(": "))
                last = attempt + 1 == (CONNECTS if isinstance(error, httpx2.ConnectError) else ATTEMPTS)
            except PassingError as error:
                found, last = error, attempt + 1 == ATTEMPTS
            if last or found.wait > PATIENCE:
                break
            self._back_off(attempt, found.wait)
        raise ModelError(
            f"{self.endpoint.title} did not answer at {attempt + 1} attempts ({self._safe(str(found))}). {RESUME}"
        )

    def stream(self, body: Json) -> Iterator[str]:
        """The pieces of an answer. Raises as `chunks`."""
        return (piece for chunk in self.chunks(body) if (piece := piece_of(chunk)))

    def chunks(self, body: Json) -> Generator[Json, None, None]:
        """The chunks of an answer. Raises ModelError where it is refused or cut before its end."""
        ended = False
        self._wait_for_turn()
        try:
            with self._http.stream(
                "POST", self._url("chat/completions"), json={**body, "stream": True}
            ) as got:
                if got.status_code != 200:
                    self._check_status(got, got.read())
                for event in httpx2.EventSource(got):
                    if ended := event.data.strip() == "[DONE]":
                        break
                    chunk = parse_json(event.data)
                    piece_of(chunk)  # which raises for what is no chunk
                    yield chunk
        except (httpx2.HTTPError, PassingError, ValueError, AttributeError, TypeError) as error:
            raise ModelError(
                f"{self.endpoint.title} broke off: {self._safe(str(error))}. Ask again."
            ) from None
        if not ended:
            raise ModelError(f"{self.endpoint.title} broke off before the end of the answer. Ask again.")

    def _once(self, body: Json) -> Json:
        with self._http.stream("POST", self._url("chat/completions"), json=body) as response:
            content = self._read(response)
            self._check_status(response, content)
        try:
            answer = parse_json(content.decode())
            choice = answer["choices"][0]
            choice["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise PassingError(f"an answer that is no chat completion: {quote_value(content[:80])}") from None
        return dict(answer)

    def _read(self, response: httpx2.Response) -> bytes:
        """The whole body, within the time-out as a whole and not for each of its parts."""
        deadline, parts = time.monotonic() + self.endpoint.timeout, []
        for part in response.iter_bytes():
            parts.append(part)
            if time.monotonic() > deadline:
                raise PassingError(f"no whole answer within {self.endpoint.timeout:g} s")
        content = b"".join(parts)
        return content.replace(self._key.encode(), b"***") if len(self._key) >= SECRET else content

    def _check_status(self, response: httpx2.Response, content: bytes) -> None:
        """Raises for every status but 200."""
        status = response.status_code
        if status == 200:
            return
        said, code, parameter = _error(content)
        what = f"HTTP {status}" + (f": {said}" if said else "")
        if (status >= 500 or status in PASSING) and code != "insufficient_quota":
            raise PassingError(what, _retry_after(response.headers.get("retry-after")))
        raise RefusedError(self._refusal(status, self._safe(what)), said, parameter)

    def _refusal(self, status: int, what: str) -> str:
        """The message for a status that another attempt does not change."""
        endpoint = self.endpoint
        remedy = f"Correct the task file. {RESUME}"
        if status in (401, 403):
            held = f"the key in {endpoint.key}" if endpoint.key else "a request without key:"
            remedy = f"It does not take {held}. Set another. {RESUME}"
        elif status == 429:
            remedy = f"The account's quota is used up: raise it. {RESUME}"
        elif status == 404:
            known = ", ".join(self._models())
            named = (
                f"it has: {known}. Correct `model:`." if known else "correct `endpoint:` (it may end in /v1)."
            )
            remedy = f"It may not know {endpoint.model}; {named}"
        elif "context" in what.casefold():
            remedy = f"Set `context:` beside `endpoint:` to the tokens that it reads. {RESUME}"
        return f"{endpoint.title} refuses the request ({what}). {remedy}"

    def _models(self) -> list[str]:
        """The first names of models that the endpoint lists; none where it lists none."""
        try:
            listed = parse_json(self._http.get(self._url("models")).text)["data"]
            return [quote_value(str(each["id"])) for each in listed[:20]]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return []

    def _url(self, path: str) -> str:
        return f"{self.endpoint.url}/{path}"

    def _safe(self, text: str) -> str:
        """A text for people, without the key."""
        return text.replace(self._key, "***") if self._key else text

    def _wait_for_turn(self) -> None:
        """Waits for the endpoint's pause and for the pace that the user has set."""
        every = 60 / self.endpoint.per_minute if self.endpoint.per_minute else 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._free)
            self._free = max(self._free, turn + every) if every else self._free
        self._sleep(turn - now)

    def _back_off(self, attempt: int, asked: float) -> None:
        """Waits before the next attempt; where the endpoint asks for a pause, everyone does."""
        wait = random.uniform(0, min(LONGEST_WAIT, self.first_wait * 2**attempt))
        if asked:
            with self._lock:
                self._free = max(self._free, time.monotonic() + asked)
        self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(max(0.0, seconds)):
            raise ModelError(f"Stopped while {self.endpoint.title} was asked. {RESUME}")


def piece_of(chunk: Json) -> str:
    """The text of a chunk, "" where it has none."""
    choices = chunk.get("choices") or []
    return "".join(str((choice.get("delta") or {}).get("content") or "") for choice in choices)


def _key(endpoint: Endpoint) -> str:
    """The key from the environment, "" where none is named."""
    if endpoint.key is None:
        return ""
    key = os.environ.get(endpoint.key, "").strip()
    if not key.isascii() or not key:
        why = "is not set" if not key else "holds what no key may hold"
        raise ModelError(f"The key of {endpoint.title} {why}. Run: export {endpoint.key}=YOUR_KEY")
    return key


def _error(content: bytes) -> tuple[str, str, str]:
    """Message, code and parameter of an error as OpenAI's servers word it; else its first characters."""
    try:
        error: Any = parse_json(content.decode())
        error = error.get("error", error)
        if not isinstance(error, dict):
            return quote_value(str(error), 300), "", ""
        message = error.get("message") or error.get("detail") or ""
        return quote_value(str(message), 300), str(error.get("code") or ""), str(error.get("param") or "")
    except (ValueError, AttributeError):
        return quote_value(content[:200].decode(errors="replace")) if content else "", "", ""


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After asks for, be it a number or a date."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
