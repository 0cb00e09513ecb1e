"""The routes of this package, one file per resource, in one table."""

from etude.serve.routes import ApiRoute
from etude_openai.hosted.file_store import MAX_FILE
from etude_openai.routes import (
    batches,
    decisions,
    embeddings,
    evals,
    files,
    fine_tuning,
    model_responses,
)

LARGE_BODY = 16_000_000  # bytes; for a run with its items
MEDIUM_BODY = 64_000  # bytes; for a job's description
UPLOAD = MAX_FILE + files.FORM_BODY  # bytes; for a file and the form around it

ROUTES = (
    ApiRoute("POST", "/v1/responses", model_responses.create_response, "chat", None),
    ApiRoute("GET", "/v1/responses/{response_id}", model_responses.get_response, "chat"),
    ApiRoute(
        "GET", "/v1/responses/{response_id}/input_items", model_responses.list_input_items, "chat"
    ),
    ApiRoute("DELETE", "/v1/responses/{response_id}", model_responses.delete_response, "chat"),
    ApiRoute("POST", "/v1/decisions", decisions.create_decision, "chat", None),
    ApiRoute("POST", "/v1/embeddings", embeddings.create_embeddings, "chat", None),
    ApiRoute("DELETE", "/v1/models/{name}", fine_tuning.delete_model, "train"),
    ApiRoute("POST", "/v1/files", files.create_file, "files", UPLOAD, files.check_upload),
    ApiRoute("GET", "/v1/files", files.list_files, "files"),
    ApiRoute("GET", "/v1/files/{file_id}", files.get_file, "files"),
    ApiRoute("DELETE", "/v1/files/{file_id}", files.delete_file, "files"),
    ApiRoute("GET", "/v1/files/{file_id}/content", files.get_content, "files"),
    ApiRoute("POST", "/v1/fine_tuning/jobs", fine_tuning.create_job, "train", MEDIUM_BODY),
    ApiRoute("GET", "/v1/fine_tuning/jobs", fine_tuning.list_jobs, "train"),
    ApiRoute("GET", "/v1/fine_tuning/jobs/{job_id}", fine_tuning.get_job, "train"),
    ApiRoute("POST", "/v1/fine_tuning/jobs/{job_id}/cancel", fine_tuning.cancel_job, "train"),
    ApiRoute("POST", "/v1/fine_tuning/jobs/{job_id}/pause", fine_tuning.pause_job, "train"),
    ApiRoute("POST", "/v1/fine_tuning/jobs/{job_id}/resume", fine_tuning.resume_job, "train"),
    ApiRoute("GET", "/v1/fine_tuning/jobs/{job_id}/events", fine_tuning.list_events, "train"),
    ApiRoute(
        "GET", "/v1/fine_tuning/jobs/{job_id}/checkpoints", fine_tuning.list_checkpoints, "train"
    ),
    ApiRoute("POST", "/v1/batches", batches.create_batch, "files", MEDIUM_BODY),
    ApiRoute("GET", "/v1/batches", batches.list_batches, "files"),
    ApiRoute("GET", "/v1/batches/{batch_id}", batches.get_batch, "files"),
    ApiRoute("POST", "/v1/batches/{batch_id}/cancel", batches.cancel_batch, "files"),
    ApiRoute("POST", "/v1/evals", evals.create_eval, "evals", LARGE_BODY),
    ApiRoute("GET", "/v1/evals", evals.list_evals, "evals"),
    ApiRoute("GET", "/v1/evals/{eval_id}", evals.get_eval, "evals"),
    ApiRoute("POST", "/v1/evals/{eval_id}", evals.update_eval, "evals", MEDIUM_BODY),
    ApiRoute("DELETE", "/v1/evals/{eval_id}", evals.delete_eval, "evals"),
    ApiRoute("POST", "/v1/evals/{eval_id}/runs", evals.create_run, "evals", LARGE_BODY),
    ApiRoute("GET", "/v1/evals/{eval_id}/runs", evals.list_runs, "evals"),
    ApiRoute("GET", "/v1/evals/{eval_id}/runs/{run_id}", evals.get_run, "evals"),
    ApiRoute("POST", "/v1/evals/{eval_id}/runs/{run_id}", evals.cancel_run, "evals"),
    ApiRoute("POST", "/v1/evals/{eval_id}/runs/{run_id}/cancel", evals.cancel_run, "evals"),
    ApiRoute("DELETE", "/v1/evals/{eval_id}/runs/{run_id}", evals.delete_run, "evals"),
    ApiRoute(
        "GET", "/v1/evals/{eval_id}/runs/{run_id}/output_items", evals.list_output_items, "evals"
    ),
    ApiRoute(
        "GET",
        "/v1/evals/{eval_id}/runs/{run_id}/output_items/{item_id}",
        evals.get_output_item,
        "evals",
    ),
    ApiRoute("POST", "/v1/fine_tuning/alpha/graders/run", evals.run_grader, "evals", MEDIUM_BODY),
    ApiRoute(
        "POST", "/v1/fine_tuning/alpha/graders/validate", evals.check_grader, "evals", MEDIUM_BODY
    ),
)
"""Paths are matched from the top."""
