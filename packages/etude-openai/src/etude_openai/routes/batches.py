"""/v1/batches: files of requests that are answered in the background, as OpenAI's API has them."""

from typing import Literal

from pydantic import BaseModel

from etude.serve.schemas import Json, Metadata
from etude_openai.hosted.file_store import paginate
from etude_openai.routes.fine_tuning import Limit
from etude_openai.state import HostedState


class CreateBatchRequest(BaseModel):
    """The body of a new batch."""

    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"]
    metadata: Metadata | None = None


async def create_batch(body: CreateBatchRequest, hosted: HostedState) -> Json:
    """Make a batch and return at once."""
    return await hosted.file_threads.run(
        lambda: hosted.batches.create(body.model_dump()).describe()
    )


async def list_batches(hosted: HostedState, after: str | None = None, limit: Limit = 20) -> Json:
    """List batches, the newest first."""
    batches = await hosted.file_threads.run(
        lambda: [batch.describe() for batch in hosted.batches.batches]
    )
    return paginate(batches, after, limit)


async def get_batch(batch_id: str, hosted: HostedState) -> Json:
    """Describe a batch."""
    return await hosted.file_threads.run(lambda: hosted.batches.get(batch_id).describe())


async def cancel_batch(batch_id: str, hosted: HostedState) -> Json:
    """Cancel a batch. Its output file contains the requests answered so far."""
    return await hosted.file_threads.run(lambda: hosted.batches.cancel(batch_id).describe())
