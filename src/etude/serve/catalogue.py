"""The assistants of a server, by the names that clients ask for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from etude.assistant import FILE, Assistant
from etude.errors import Fault, InputError
from etude.runs.recommended import load, run_at


@dataclass
class Served:
    """An assistant under a name."""

    name: str
    assistant: Assistant
    place: Path
    """Where it was loaded from."""
    since: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides an answer."""
        return self.assistant.fingerprint

    @property
    def source(self) -> str:
        """RUN/METHOD, or the folder's name."""
        return f"{self.place.name}/{self.assistant.method}"


def catalogue(places: Sequence[str], method: str | None = None) -> dict[str, Served]:
    """Loads the assistants, without their weights.

    A place is what `etude.load` takes, after `NAME=` if it is to have another name than its task. Raises InputError for
    a name that stands twice, RunError for a place without an assistant.
    """
    found: dict[str, Served] = {}
    for served in _found(places, method):
        if served.name in found:
            remedy = f"give one of them another name: NAME={served.place}"
            raise InputError(
                [Fault(str(served.place), f"a second assistant named {served.name!r}", "", remedy)]
            )
        found[served.name] = served
    return found


def _found(places: Sequence[str], method: str | None) -> Iterator[Served]:
    for given in places:
        before, sign, after = given.partition("=")
        named = bool(sign) and not Path(given).exists()
        place = Path(after if named else given)
        if (place / FILE).exists():
            yield Served(before if named else place.resolve().name, load(place), place)
            continue
        run = run_at(place)
        yield Served(before if named else run.info["name"], load(run.folder, method), run.folder)
