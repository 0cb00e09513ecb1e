"""What the routes of this package share on one server: files and jobs, and the models that they
bring.
"""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import Depends

from etude.assistant import Assistant
from etude.index.build import DEFAULT_ENCODER
from etude.serve.catalogue import FEEDBACK_FILE, ServedModel, load_saved
from etude.serve.extension import ServerExtension
from etude.serve.server import Server, ServerState
from etude.types import ModelRef
from etude.web.api_errors import ApiError
from etude_openai.hosted.stores import HostedStores


class OpenAIState(ServerExtension):
    """The files and jobs of a server, its untuned models, the results of its jobs, its encoder."""

    def __init__(self, hosted: HostedStores | None = None, encoder: str = DEFAULT_ENCODER) -> None:
        """`hosted` is None without `--jobs`."""
        self.hosted = hosted
        self.encoder = encoder
        self.title = "files and fine-tuning jobs" if hosted else ""
        self.tuned: dict[str, ServedModel] = {}  # results of jobs that a client has requested
        self.embedding = asyncio.Lock()  # held while a request's texts are embedded

    def list_models(self) -> list[str]:
        """List the names of untuned models and of results of jobs."""
        if self.hosted is None:
            return []
        jobs = self.hosted.fine_tuning
        return [*filter(self._find_base, jobs.bases), *jobs.list_models()]

    def find_model(self, name: str) -> ServedModel | None:
        """Return the result of a job, or an untuned model; None if there is none of this name."""
        return self._find_tuned(name) or self._find_base(name)

    def find_encoder(self, name: str) -> str:
        """Return the encoder of a name, which `--base` may map. Raises ApiError if there is
        none.
        """
        bases = self.hosted.fine_tuning.bases if self.hosted else {}
        if bases.get(name, name) != self.encoder:
            message = (
                f"There is no encoder {name!r}. Use {self.encoder}, or map the name with --base "
                f"{name}={self.encoder}."
            )
            raise ApiError(404, message, "model", "model_not_found")
        return self.encoder

    def _find_base(self, name: str) -> ServedModel | None:
        """Return the untuned model to which `--base` maps a name, under its own name; None if there
        is none.
        """
        hosted = self.hosted
        base = hosted.fine_tuning.bases.get(name) if hosted else None
        if hosted is None or base is None or base == self.encoder:
            return None
        assistant = Assistant("prompt", "answer", ModelRef(base))
        folder = hosted.folder
        reason = f"{Path(base).name} is untuned, and no test has measured it"
        return ServedModel(
            Path(base).name, assistant, folder, folder / FEEDBACK_FILE, unmeasured_reason=reason
        )

    def _find_tuned(self, name: str) -> ServedModel | None:
        """Return the result of a job, loaded on the first request for it; None if it does not
        exist.
        """
        folder = self.hosted.fine_tuning.find_assistant(name) if self.hosted else None
        if folder is None:
            self.tuned.pop(name, None)
            return None
        if name not in self.tuned:
            self.tuned[name] = load_saved(name, folder)
        return self.tuned[name]

    def close(self) -> None:
        """Start no more jobs; the running job continues."""
        if self.hosted:
            self.hosted.close()


def get_state(server: Server) -> OpenAIState:
    """Return the state of this package on a server that has its routes."""
    (state,) = (state for state in server.extensions if isinstance(state, OpenAIState))
    return state


def get_hosted(server: ServerState) -> HostedStores:
    """Return files and jobs. Raises ApiError without `--jobs`."""
    hosted = get_state(server).hosted
    if hosted is None:
        message = "This server has no files and jobs. Start it with --jobs FOLDER."
        raise ApiError(404, message, code="jobs_off")
    return hosted


HostedState = Annotated[HostedStores, Depends(get_hosted)]
"""The type of a handler's parameter that gets files and jobs. Raises ApiError without --jobs."""
