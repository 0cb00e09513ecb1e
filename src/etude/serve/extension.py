"""What installed packages add to the server: routes, models and work beside requests.

A package registers a function in the group of entry points `etude.routes`; the function gets the
ExtensionOptions of `etude serve` and returns a ServerExtension. Étude itself names no such package.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.errors import MissingExtraError, format_install
from etude.serve.catalogue import ServedModel
from etude.web.api_errors import ApiError

if TYPE_CHECKING:
    from etude.serve.routes import ApiRoute

GROUP = "etude.routes"
EXTRA = "openai"
"""The extra that brings the packaged routes."""


@dataclass(frozen=True)
class ExtensionOptions:
    """What the options of `etude serve` say about files and jobs."""

    jobs: Path | None = None
    """Folder of files and jobs; None without `--jobs`."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """Model name of a client -> model of this machine that is trained instead."""
    graders: Mapping[str, str] = field(default_factory=dict)
    """Name of a grading model -> URL#MODEL."""
    result_files: str = "base64"
    quota_gb: float = 10.0
    """Gigabytes of all files together."""


class ServerExtension:
    """What one package adds to a server. This class adds nothing."""

    title = ""
    """What the server says at its start that it also serves; "" for nothing."""
    routes: Sequence[ApiRoute] = ()

    def list_models(self) -> list[str]:
        """List the names of models beside those of the catalogue."""
        return []

    def find_model(self, name: str) -> ServedModel | None:
        """Return the model of a name that the catalogue lacks; None if it does not exist."""
        return None

    def find_refusal(self, method: str, path: str) -> ApiError | None:
        """Return a better error than 404 for a request without a route; None if there is none."""
        return None

    def start_work(self, server: Any) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what runs beside the requests of this Server (server.py) until it stops."""
        return ()

    def close(self) -> None:
        """End what the package has started."""


def load_extensions(options: ExtensionOptions) -> tuple[ServerExtension, ...]:
    """Load the extensions of all installed packages. Raises MissingExtraError if files and jobs
    are asked for and no package is installed.
    """
    extensions = tuple(entry.load()(options) for entry in entry_points(group=GROUP))
    if options.jobs is not None and not extensions:
        raise MissingExtraError("--jobs", EXTRA)
    return extensions


def refuse_request(
    extensions: Sequence[ServerExtension], method: str, path: str
) -> ApiError | None:
    """Return the error for a request without a route, as the extensions word it. Without any, a
    route of the API is refused with the command that installs them.
    """
    for extension in extensions:
        if refusal := extension.find_refusal(method, path):
            return refusal
    if extensions or not path.startswith("/v1/"):
        return None
    message = f"{method} {path} is in a package that is not installed. Run: {format_install(EXTRA)}"
    return ApiError(501, message, code="not_installed")
