"""Responses that clients retrieve or continue by their id: RESPONSES/resp_65f0....json, each with
its conversation.
"""

import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from etude.base.files import Json, read_json, write_json
from etude.web.api_errors import ApiError

RESPONSE_ID = re.compile(r"resp_[0-9a-f]{32}")
MAX_AGE = 30 * 24 * 3600  # seconds, the same as OpenAI's
MAX_BYTES = 1_000_000_000  # of all responses together; the oldest are deleted first
PRUNE_EVERY = 100  # both limits are checked after this many new responses


def create_response_id() -> str:
    """Return a new id. Ids sort by the time of their creation, in seconds."""
    return f"resp_{int(time.time()):08x}{secrets.token_hex(12)}"


@dataclass
class ResponseStore:
    """The stored responses of a server."""

    folder: Path
    num_added: int = 0

    def add(self, response: Json, items: list[Json]) -> None:
        """Store a response, and the items of the conversation before it."""
        write_json(self.folder / f"{response['id']}.json", {"response": response, "items": items})
        if self.num_added % PRUNE_EVERY == 0:
            oldest = f"resp_{int(time.time() - MAX_AGE):08x}"
            num_bytes = 0
            for file in sorted(self.folder.glob("resp_*.json"), reverse=True):
                num_bytes += file.stat().st_size
                if num_bytes > MAX_BYTES or file.name < oldest:
                    file.unlink(missing_ok=True)
        self.num_added += 1

    def get(self, response_id: str) -> tuple[Json, list[Json]]:
        """Return a response and the items before it. Raises ApiError if it is not stored."""
        stored = read_json(self._find(response_id))
        return stored["response"], stored["items"]

    def delete(self, response_id: str) -> None:
        """Delete a response. Raises ApiError if it is not stored."""
        self._find(response_id).unlink(missing_ok=True)

    def _find(self, response_id: str) -> Path:
        file = self.folder / f"{response_id}.json"
        if not RESPONSE_ID.fullmatch(response_id) or not file.exists():
            raise ApiError(404, f"Response with id '{response_id}' not found.", "response_id")
        return file
