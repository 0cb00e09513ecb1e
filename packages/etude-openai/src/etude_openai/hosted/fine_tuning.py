"""Fine-tuning jobs of OpenAI's API. Each is a folder that survives a kill of the server or of its
worker.

FINE_TUNING/
  queue/                  one worker process at a time (etude_openai.jobs)
  ftjob-3a1b.../
    job.json              the client's request, and the model that is really trained; written once
    wish.json             run, pause or cancel: what the client wants now
    events.jsonl          messages of the worker and the server; metrics are in steps.jsonl
    steps.jsonl           a line for each training step and each epoch
    result.json           how the job ended; written last
    start/                the tuned model that is trained further, if there is one
    work/, assistant/     the training, and the assistant that answers as the tuned model
    checkpoints/step-N/   assistants of the last three epochs
"""

import json
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from etude.assistant import load
from etude.base.files import Json, append_line, hash_text, list_lines, read_json, write_json
from etude.errors import InputError
from etude.web.api_errors import ApiError
from etude_openai.graders.grade import Tools, validate_grader
from etude_openai.hosted.file_store import FileStore
from etude_openai.jobs import Job, JobQueue

JOB_ID = re.compile(r"ftjob-[0-9a-f]{24}")
WORKER = "etude_openai.hosted.worker:run_fine_tuning"
FINISHED = ("succeeded", "failed", "cancelled")
COMPLETION_MODELS = ("babbage-002", "davinci-002")
"""The models of OpenAI that are tuned on prompts and completions. All others are tuned on chats."""
MODEL_GRADER = re.compile(r'"type": "(score|label)_model"')
RETRY_SECONDS = 60
"""Within this time, a request marked as a retry gets the job that the first request made."""
EVENT_ORDER = {"checkpoint": 2, "model": 3, "end": 4}
"""Order of events within one second: what begins the job (0), its steps (1), then these."""
METRICS = {"step": "step", "train_loss": "train_loss", "full_valid_loss": "valid_loss"}
NO_ERROR = {"code": None, "message": None, "param": None}
Wish = Literal["run", "pause", "cancel"]


@dataclass(frozen=True)
class FineTuningJob:
    """One job folder; every property reads the disk."""

    folder: Path

    @property
    def request(self) -> Json:
        return read_json(self.folder / "job.json")

    @property
    def result(self) -> Json:
        """result.json; empty until the job has ended."""
        return read_json(self.folder / "result.json", {})

    @property
    def wish(self) -> Wish:
        wish: Wish = read_json(self.folder / "wish.json")["wish"]
        return wish

    def find_queued(self, queue: JobQueue) -> Job | None:
        """The latest job of the queue that works on this one."""
        mine = [job for job in queue.jobs if job.arguments == [str(self.folder)]]
        return mine[-1] if mine else None

    def status(self, queue: JobQueue) -> str:
        """The status in the API's words."""
        if self.result:
            return str(self.result["status"])
        queued = self.find_queued(queue)
        wish = self.wish
        is_stopped = queued is None or queued.is_finished
        if wish == "cancel":
            return "cancelled"
        if wish == "pause":
            return "paused" if is_stopped else "pausing"
        if queued is not None and queued.state == "failed":
            return "failed"
        if queued is not None and queued.state == "running":
            return "running" if self._has_event("started") else "validating_files"
        return "queued" if self._has_event("validated") else "validating_files"

    def describe(self, queue: JobQueue) -> Json:
        """The job as the API returns it."""
        request = self.request
        result = self.result
        status = self.status(queue)
        error = result.get("error") or NO_ERROR
        if status == "failed" and not result:
            queued = self.find_queued(queue)
            detail = queued.status.get("error", "") if queued else ""
            error = {
                "code": "server_error",
                "message": f"The worker stopped: {detail}",
                "param": None,
            }
        hyperparameters = result.get("hyperparameters") or request["hyperparameters"]
        method = request["method"]
        return {
            "id": self.folder.name,
            "object": "fine_tuning.job",
            "created_at": request["created_at"],
            "error": error,
            "fine_tuned_model": result.get("fine_tuned_model"),
            "finished_at": result.get("finished_at"),
            "hyperparameters": hyperparameters if method["type"] == "supervised" else None,
            "model": request["base"],
            "organization_id": "org-local",
            "result_files": result.get("result_files", []),
            "status": status,
            "trained_tokens": result.get("trained_tokens"),
            "training_file": request["training_file"],
            "validation_file": request["validation_file"],
            "integrations": request["integrations"],
            "seed": request["seed"],
            "estimated_finish": None if status in FINISHED else self._estimate_finish(),
            "method": {
                **method,
                method["type"]: {
                    **method.get(method["type"], {}),
                    "hyperparameters": hyperparameters,
                },
            },
            "metadata": request["metadata"],
            "user_provided_suffix": request["suffix"],
            "etude": {"requested_model": request["model"], **result.get("etude", {})},
        }

    def add_event(
        self, key: str, message: str, level: str = "info", data: Mapping[str, Any] | None = None
    ) -> None:
        """Appends an event. A worker restarted after a kill does not repeat an event that has a
        `key`.
        """
        if self._has_event(key):
            return
        line = {
            "key": key,
            "created_at": int(time.time()),
            "level": level,
            "message": message,
            "data": data or {},
        }
        append_line(self.folder / "events.jsonl", line)

    def list_events(self) -> list[Json]:
        """All events, the newest first."""
        events = [
            {**line, "order": (line["created_at"], EVENT_ORDER.get(line["key"].split()[0], 0))}
            for line in self._read("events.jsonl")
        ]
        events += [{**line, "order": (line["created_at"], 1)} for line in self._list_metrics()]
        events.sort(key=lambda event: event["order"])
        return [
            {
                "id": f"ftevent-{self._hash(event['key'])}",
                "object": "fine_tuning.job.event",
                **{name: event[name] for name in ("created_at", "level", "message", "data")},
                "type": "metrics" if "step" in event["data"] else "message",
            }
            for event in reversed(events)
        ]

    def list_checkpoints(self) -> list[Json]:
        """The checkpoints that clients can use as models, the newest first."""
        epochs = {
            line["step"]: line for line in self._read("steps.jsonl") if line["kind"] == "epoch"
        }
        steps = sorted(
            (int(path.name.partition("-")[2]) for path in self.checkpoint_folders), reverse=True
        )
        return [
            {
                "id": f"ftckpt_{self._hash(step)}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": epochs[step]["created_at"],
                "fine_tuned_model_checkpoint": self.name_checkpoint(step),
                "fine_tuning_job_id": self.folder.name,
                "step_number": step,
                "metrics": {
                    name: value
                    for name, key in METRICS.items()
                    if (value := epochs[step][key]) is not None
                },
            }
            for step in steps
            if step in epochs
        ]

    @property
    def checkpoint_folders(self) -> list[Path]:
        return list((self.folder / "checkpoints").glob("step-*"))

    @property
    def model_name(self) -> str:
        """The name of the tuned model: ft:NAME:BASE:SUFFIX:ID. At OpenAI, an organisation is in the
        place of the base.

        NAME is the model that the client asked for. Some tools only accept names that they know in
        its place.
        """
        request = self.request
        name = request["model"].removeprefix("ft:").partition(":")[0]
        base = request["base"].rpartition("/")[2]
        owner = "local" if name == base else base.replace(":", "-")
        return f"ft:{name}:{owner}:{request['suffix'] or ''}:{self.folder.name[-8:]}"

    def name_checkpoint(self, step: int) -> str:
        """The name of a checkpoint as a model."""
        return f"{self.model_name}:ckpt-step-{step}"

    def find_assistant(self, name: str) -> Path | None:
        """The folder of the assistant behind the model `name`; None if this job has no such
        model.
        """
        if name == self.model_name and self.result.get("status") == "succeeded":
            folder = Path(self.result["assistant"])
            return folder if folder.exists() else None
        for folder in self.checkpoint_folders:
            if name == self.name_checkpoint(int(folder.name.partition("-")[2])):
                return folder
        return None

    def write_result(self, **fields: Any) -> None:
        """Writes result.json, which ends the job."""
        write_json(self.folder / "result.json", {"finished_at": int(time.time()), **fields})

    def _hash(self, name: object) -> str:
        return hash_text(f"{self.folder.name}/{name}", 24)

    def _has_event(self, key: str) -> bool:
        return any(line["key"] == key for line in self._read("events.jsonl"))

    def _list_metrics(self) -> list[Json]:
        """An event for each step; for a step that a resumed worker repeated, its latest line."""
        lines = {line["step"]: line for line in self._read("steps.jsonl") if line["kind"] == "step"}
        epochs = {
            line["step"]: line for line in self._read("steps.jsonl") if line["kind"] == "epoch"
        }
        events = []
        for step, line in lines.items():
            message = f"Step {step}/{line['total_steps']}: training loss={line['train_loss']:.2f}"
            data = {name: line[name] for name in ("step", "train_loss", "total_steps")}
            if (epoch := epochs.get(step)) and epoch["valid_loss"] is not None:
                message += f", full validation loss={epoch['valid_loss']:.2f}"
                data["full_valid_loss"] = epoch["valid_loss"]
            event = {"key": f"step {step}", "level": "info", "message": message, "data": data}
            events.append(event | {"created_at": line["created_at"]})
        return events

    def _estimate_finish(self) -> int | None:
        lines = [line for line in self._read("steps.jsonl") if line["kind"] in ("begin", "step")]
        if len(lines) < 2:
            return None
        first = lines[0]
        last = lines[-1]
        pace = (last["created_at"] - first["created_at"]) / max(1, last["step"] - first["step"])
        return int(last["created_at"] + pace * (last["total_steps"] - last["step"]))

    def _read(self, name: str) -> list[Json]:
        return list_lines(self.folder / name)


class FineTuningStore:
    """All jobs of a server. `bases`: model name of the client -> model to train."""

    def __init__(
        self,
        folder: Path,
        files: FileStore,
        bases: Mapping[str, str],
        result_files: str,
        tools: Tools,
    ) -> None:
        """Continues the jobs that an earlier server left unfinished."""
        self.folder = folder
        self.files = files
        self.bases = bases
        self.result_files = result_files
        self.tools = tools
        self.queue = JobQueue(folder / "queue")
        # A server may have been killed after it made the folder and before it queued the job.
        for job in self.jobs:
            if not job.result and job.wish == "run" and job.find_queued(self.queue) is None:
                self.queue.submit(WORKER, [str(job.folder)])

    @property
    def jobs(self) -> list[FineTuningJob]:
        folders = (
            folder for folder in self.folder.glob("ftjob-*") if (folder / "wish.json").exists()
        )
        jobs = [FineTuningJob(folder) for folder in folders]
        return sorted(
            jobs, key=lambda job: (job.request["submitted"], job.folder.name), reverse=True
        )

    def create(self, fields: Json, is_retry: bool) -> Json:
        """Makes a job, unless the client retries the request of a recent one.

        Raises ApiError for unknown files and models. The worker validates the content of the files:
        an error there makes the job fail.
        """
        earliest = time.time() - RETRY_SECONDS
        for job in self.jobs if is_retry else ():
            request = job.request
            if request["submitted"] > earliest and fields.items() <= request.items():
                return job.describe(self.queue)
        for param in ("training_file", "validation_file"):
            if fields[param] is not None and self.files.find(fields[param]) is None:
                raise ApiError(400, f"invalid {param}: {fields[param]}", param)
        start = self.find_assistant(fields["model"]) if fields["method"]["type"] == "dpo" else None
        base = load(start).model.name if start else self.bases.get(fields["model"])
        if base is None:
            raise ApiError(
                400, self._explain_unknown_model(fields["model"]), "model", "model_not_available"
            )
        file_ids = {
            param: fields[param] for param in ("training_file", "validation_file") if fields[param]
        }
        for file_id in file_ids.values():
            self._check_format(file_id, fields["model"], fields["method"]["type"])
        if fields["method"]["type"] == "reinforcement":
            self._check_grader(fields["method"]["reinforcement"]["grader"])
        folder = self.folder / f"ftjob-{secrets.token_hex(12)}"
        job = FineTuningJob(folder)
        request = {
            **fields,
            "base": base,
            "created_at": int(time.time()),
            "submitted": time.time(),
            "result_files": self.result_files,
            "files": str(self.files.folder),
            "filenames": {
                param: self.files.get(file_id)["filename"] for param, file_id in file_ids.items()
            },
            "quota": self.files.quota,
        }
        write_json(folder / "job.json", request)
        if start:  # copied, because the client may delete it meanwhile
            load(start).save(folder / "start")
        job.add_event("created", f"Created fine-tuning job: {folder.name}")
        names = " and ".join(
            f"{param.replace('_', ' ')}: {file_id}" for param, file_id in file_ids.items()
        )
        job.add_event("validating", f"Validating {names}")
        if base != fields["model"] and not start:
            message = f"This job trains {base}, because this server maps {fields['model']} to it."
            job.add_event("base", message, "warn")
        write_json(folder / "wish.json", {"wish": "run"})
        self.queue.submit(WORKER, [str(folder)])
        return job.describe(self.queue)

    def get(self, job_id: str) -> FineTuningJob:
        """The job of an id. Raises ApiError if there is none."""
        folder = self.folder / job_id
        if not JOB_ID.fullmatch(job_id) or not (folder / "wish.json").exists():
            message = f"Could not find fine tune: {job_id}"
            raise ApiError(404, message, "fine_tune_id", "fine_tune_not_found")
        return FineTuningJob(folder)

    def change(self, job_id: str, wish: Wish) -> Json:
        """Cancels, pauses or resumes a job. Raises ApiError if it has ended."""
        job = self.get(job_id)
        status = job.status(self.queue)
        if status in FINISHED:
            message = f"Job {job_id} has already {status} and cannot be changed."
            raise ApiError(400, message, code="invalid_job_state")
        write_json(job.folder / "wish.json", {"wish": wish})
        queued = job.find_queued(self.queue)
        if wish == "run":
            if queued is None or queued.is_finished:
                self.queue.submit(WORKER, [str(job.folder)])
        elif queued is not None and not queued.is_finished:
            queued.cancel()
        if wish == "cancel":
            job.add_event("end", "The job has been cancelled")
            job.write_result(status="cancelled")
        return job.describe(self.queue)

    def find_assistant(self, name: str) -> Path | None:
        """The folder of the assistant behind the tuned model `name`; None if there is none."""
        if not name.startswith("ft:"):
            return None
        folders = (job.find_assistant(name) for job in self.jobs)
        return next((folder for folder in folders if folder is not None), None)

    def list_models(self) -> dict[str, Path]:
        """Tuned models and checkpoints that clients can use: name -> folder of the assistant."""
        models: dict[str, Path] = {}
        for job in self.jobs:
            steps = (int(path.name.partition("-")[2]) for path in job.checkpoint_folders)
            names = [job.model_name, *map(job.name_checkpoint, steps)]
            models |= {name: folder for name in names if (folder := job.find_assistant(name))}
        return models

    def delete_model(self, name: str) -> None:
        """Removes the weights of a tuned model. Raises ApiError if there is none of this name."""
        folder = self.find_assistant(name)
        if folder is None:
            raise ApiError(404, f"The model '{name}' does not exist", "model", "model_not_found")
        shutil.rmtree(folder)

    def _check_format(self, file_id: str, model: str, method: str) -> None:
        needed = ("input", "preferred_output") if method == "dpo" else ("messages",)
        needed = ("prompt", "completion") if model in COMPLETION_MODELS else needed
        with (
            self.files.read_path(file_id).open("rb") as lines,
            suppress(ValueError, RecursionError),
        ):
            row = json.loads(next(filter(bytes.strip, lines), b"{}"))
            if isinstance(row, dict) and set(needed) <= set(row):
                return
        message = (
            f"Invalid file format. The rows of input file {file_id} do not have "
            f"{' and '.join(needed)}, which a {method} job of {model} needs."
        )
        raise ApiError(400, message, code="invalid_file_format")

    def _check_grader(self, grader: Json) -> None:
        """Raises ApiError with every error of a grader, and for one that asks a model: a worker has
        no key of it.
        """
        if MODEL_GRADER.search(json.dumps(grader)):
            message = "A reinforcement job cannot use score_model or label_model graders."
            raise ApiError(501, message, "method.reinforcement.grader", "not_supported")
        try:
            validate_grader(grader, self.tools)
        except InputError as error:
            param = f"method.reinforcement.{error.issues[0].location}"
            raise ApiError(400, str(error), param, "invalid_value") from error

    def _explain_unknown_model(self, model: str) -> str:
        message = f"Model {model} is not available for fine-tuning or does not exist."
        known = f" Known: {', '.join(self.bases)}." if self.bases else ""
        if model.startswith("ft:"):
            return f"{message} Only dpo trains a tuned model further, if the model still exists."
        return (
            f"{message} Start the server with --base {model}=MODEL to choose the model to train "
            f"instead.{known}"
        )
