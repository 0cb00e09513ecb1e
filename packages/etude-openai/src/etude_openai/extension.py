"""The entry point: what this package adds to a server."""

from collections.abc import Coroutine, Sequence
from typing import Any

from etude.serve.extension import ExtensionOptions
from etude.serve.server import Server
from etude.web.api_errors import ApiError
from etude_openai.background import run_batches, run_evals
from etude_openai.conformance import find_refusal
from etude_openai.hosted.stores import HostedStores, build_tools
from etude_openai.routes import ROUTES
from etude_openai.state import OpenAIState


class OpenAIExtension(OpenAIState):
    """The routes of OpenAI's API besides chats, completions and models."""

    routes = ROUTES

    def find_refusal(self, method: str, path: str) -> ApiError | None:
        """Return why the server lacks a route of OpenAI's API; None for other requests."""
        return find_refusal(method, path)

    def start_work(self, server: Server) -> Sequence[Coroutine[Any, Any, None]]:
        """Return the work on batches and evals, which needs `--jobs`."""
        if self.hosted is None:
            return ()
        return (run_batches(server), run_evals(server))


def build_extension(options: ExtensionOptions) -> OpenAIExtension:
    """Build what the package adds to a server with these options of `etude serve`."""
    if options.jobs is None:
        return OpenAIExtension()
    hosted = HostedStores(
        options.jobs,
        options.bases,
        result_files=options.result_files,
        quota_gb=options.quota_gb,
        tools=build_tools(options.graders),
    )
    return OpenAIExtension(hosted)
