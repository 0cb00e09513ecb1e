"""/v1/feedback: what users say about answers, appended to the feedback.jsonl of the assistant."""

import asyncio
import hashlib

from fastapi import Request

from etude.errors import InputError
from etude.feedback import FeedbackLog, read_feedback
from etude.serve.schemas import FeedbackRequest, Json
from etude.serve.server import ServerState
from etude.web.api_errors import ApiError


async def add_feedback(body: FeedbackRequest, request: Request, server: ServerState) -> Json:
    """Save feedback on an answer. It is on disk before the response is sent; `new` is false if it
    was saved before.
    """
    answer = server.recent.find(body.id, body.index)
    file = answer.served.feedback
    reviewer = getattr(request.state, "key", "") or body.user
    log = server.logs.setdefault(file, FeedbackLog(file))
    # The id is a hash of the content, so that a repeated request is saved once.
    content = (body.id, body.index, reviewer, body.thumb, body.correction, body.reason)
    entry_id = hashlib.sha256(repr(content).encode()).hexdigest()[:32]
    opinion = {"thumb": body.thumb, "correction": body.correction, "reason": body.reason}
    try:
        entry = read_feedback({"id": entry_id, "reviewer": reviewer, **answer.exchange, **opinion})
        return {"object": "feedback", "new": await asyncio.to_thread(log.add, entry)}
    except InputError as error:
        raise ApiError(400, error.issues[0].message, code="invalid_value") from error
    except OSError as error:
        message = (
            f"The server cannot save feedback ({error.strerror}). Send it again when its operator "
            "has fixed that."
        )
        raise ApiError(507, message, code="not_saved") from error
