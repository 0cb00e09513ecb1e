"""/v1/fine_tuning/jobs: jobs, their events and checkpoints, as OpenAI's API has them."""

from typing import Annotated, Any, Literal

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from etude.serve.schemas import Json, Metadata
from etude.web.api_errors import ApiError
from etude_openai.hosted.file_store import paginate
from etude_openai.state import HostedState

Auto = Literal["auto"]
Limit = Annotated[int, Query(ge=1, le=1000)]
METADATA_PREFIX = "metadata["


class Hyperparameters(BaseModel):
    """The hyperparameters of both methods; only dpo uses `beta`."""

    model_config = ConfigDict(extra="forbid")
    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0)] = "auto"
    beta: Auto | Annotated[float, Field(gt=0, le=2)] = "auto"


class MethodSettings(BaseModel):
    """The settings of one method."""

    hyperparameters: Hyperparameters = Hyperparameters()


class DrawHyperparameters(Hyperparameters):
    """Those of reinforcement; OpenAI's own, such as eval_interval, have no effect."""

    model_config = ConfigDict(extra="ignore")


class GraderSettings(BaseModel):
    """The settings of reinforcement."""

    grader: dict[str, Any]
    hyperparameters: DrawHyperparameters = DrawHyperparameters()
    response_format: None = None


class TuningMethod(BaseModel):
    """How to tune."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: MethodSettings | None = None
    dpo: MethodSettings | None = None
    reinforcement: GraderSettings | None = None


class CreateJobRequest(BaseModel):
    """The body of a new job. Older clients send `hyperparameters` at the top level."""

    model: str
    training_file: str
    validation_file: str | None = None
    hyperparameters: Hyperparameters | None = None
    method: TuningMethod | None = None
    suffix: (
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[\w.-]+$")] | None
    ) = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    integrations: Annotated[list[dict[str, Any]], Field(max_length=5)] | None = None
    metadata: Metadata | None = None

    def to_fields(self) -> Json:
        """Return the fields that the store saves. Raises ApiError for reinforcement without a
        grader.
        """
        kind = self.method.type if self.method else "supervised"
        settings: MethodSettings | GraderSettings | None = (
            getattr(self.method, kind) if self.method else None
        )
        if kind == "reinforcement" and settings is None:
            raise ApiError(
                400, "Add a grader.", "method.reinforcement", "missing_required_parameter"
            )
        chosen = settings.hyperparameters if settings else self.hyperparameters or Hyperparameters()
        names = (
            "n_epochs",
            "batch_size",
            "learning_rate_multiplier",
            *(["beta"] if kind == "dpo" else []),
        )
        graded = settings if isinstance(settings, GraderSettings) else None
        grader = {"reinforcement": {"grader": graded.grader}} if graded else {}
        return {
            "model": self.model,
            "training_file": self.training_file,
            "validation_file": self.validation_file,
            "hyperparameters": {name: getattr(chosen, name) for name in names},
            "method": {"type": kind, **grader},
            "suffix": self.suffix,
            "seed": self.seed,
            "integrations": self.integrations or [],
            "metadata": self.metadata or {},
        }


async def create_job(body: CreateJobRequest, request: Request, hosted: HostedState) -> Json:
    """Makes a job and returns at once. A retry of the same request returns the job that the first
    one made.
    """
    is_retry = request.headers.get("x-stainless-retry-count", "0") != "0"
    return await hosted.file_threads.run(hosted.fine_tuning.create, body.to_fields(), is_retry)


async def list_jobs(
    request: Request, hosted: HostedState, after: str | None = None, limit: Limit = 20
) -> Json:
    """Lists jobs, the newest first; `metadata[KEY]=VALUE` lists only jobs with that entry."""
    wanted = {
        name[len(METADATA_PREFIX) : -1]: value
        for name, value in request.query_params.items()
        if name.startswith(METADATA_PREFIX)
    }

    def describe() -> list[Json]:
        store = hosted.fine_tuning
        jobs = (job for job in store.jobs if wanted.items() <= job.request["metadata"].items())
        return [job.describe(store.queue) for job in jobs]

    return paginate(await hosted.file_threads.run(describe), after, limit)


async def get_job(job_id: str, hosted: HostedState) -> Json:
    """Describes a job."""
    store = hosted.fine_tuning
    return await hosted.file_threads.run(lambda: store.get(job_id).describe(store.queue))


async def cancel_job(job_id: str, hosted: HostedState) -> Json:
    """Cancels a job."""
    return await hosted.file_threads.run(hosted.fine_tuning.change, job_id, "cancel")


async def pause_job(job_id: str, hosted: HostedState) -> Json:
    """Pauses a job; it keeps its latest checkpoint."""
    return await hosted.file_threads.run(hosted.fine_tuning.change, job_id, "pause")


async def resume_job(job_id: str, hosted: HostedState) -> Json:
    """Resumes a paused job."""
    return await hosted.file_threads.run(hosted.fine_tuning.change, job_id, "run")


async def list_events(
    job_id: str, hosted: HostedState, after: str | None = None, limit: Limit = 20
) -> Json:
    """Lists the events of a job, the newest first."""
    events = await hosted.file_threads.run(lambda: hosted.fine_tuning.get(job_id).list_events())
    return paginate(events, after, limit)


async def list_checkpoints(
    job_id: str, hosted: HostedState, after: str | None = None, limit: Limit = 10
) -> Json:
    """Lists the checkpoints of a job that clients can use as models, the newest first."""
    checkpoints = await hosted.file_threads.run(
        lambda: hosted.fine_tuning.get(job_id).list_checkpoints()
    )
    return paginate(checkpoints, after, limit)


async def delete_model(name: str, hosted: HostedState) -> Json:
    """Delete the weights of a tuned model."""
    await hosted.file_threads.run(hosted.fine_tuning.delete_model, name)
    return {"id": name, "object": "model", "deleted": True}
