"""The worker of one fine-tuning job: validates its files, trains, and registers the result.

It runs in a child process (etude_openai.jobs) and may be killed at any moment. The same call
resumes from the last checkpoint of the training and ends with the same weights.
"""

import base64
import io
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from etude.assistant import Assistant, load
from etude.base import files
from etude.base.files import (
    Json,
    append_line,
    link_or_copy,
    read_json,
    read_lines,
    write_json,
    write_text,
)
from etude.base.formatting import format_percent
from etude.data.dataset import Dataset, MinRows, load_dataset
from etude.data.formats import read_rows
from etude.data.formats.columns import BY_COLUMN_NAMES
from etude.data.preferences import read_preferences
from etude.errors import EtudeError, InputError, TrainingDiverged, quote_value
from etude.methods import fine_tune, prefer
from etude.methods.shared import fit_context
from etude.methods.shared.training_run import build_training_run, choose_config
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.stats import estimate
from etude.task import Task, definition, load_task
from etude.types import Example, Message, ModelRef, Preference, Request, Side, TrainableModel
from etude.web.api_errors import ApiError
from etude_openai.graders.draws import draw_best
from etude_openai.hosted.file_store import FileStore
from etude_openai.hosted.fine_tuning import FineTuningJob
from etude_openai.hosted.stores import build_tools

MIN_EXAMPLES = 10
"""OpenAI's lower limit."""
NUM_CHECKPOINTS = 3
"""The number of epochs, the last ones, whose weights clients can use as models."""
NUM_PROBE_ROWS = 8
"""Without a validation file, the number of training rows whose loss is measured after an epoch,
against spikes.
"""
MAX_DRAW_TOKENS = 256  # of an answer drawn by a reinforcement job
MIN_HELD_BACK = 5  # rows
DRAWS_NOTE = (
    "This is rejection sampling, not reinforcement learning: several answers to each prompt are "
    "drawn from the untuned model, and the best one that passes the grader is trained on. {num} "
    "rows are held back to measure the effect."
)
METHOD = fine_tune.FineTune()
PREFER = prefer.Prefer()
FILES = {"training_file": "training.jsonl", "validation_file": "validation.jsonl"}
"""Parameter of the job -> name of the file in its folder."""
SETTINGS = {"n_epochs": "epochs", "batch_size": "rows_per_step", "beta": "beta"}
"""Hyperparameter of the job -> setting of training. The learning rate is missing: its multiplier
needs the default rate.
"""
SERVER_ADVICE = re.compile(r", leave it out, or set train: \{max_tokens: \d+\}")
"""What a client cannot do about a row that is too long."""


class JobFailed(Exception):  # noqa: N818 - an outcome of the job
    """The job cannot succeed. The client gets the message."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "param": param}


def run_fine_tuning(folder: str) -> int:
    """Runs the job of a folder until it ends. Returns the exit code of the worker."""
    job = FineTuningJob(Path(folder))
    if job.result or job.wish != "run":
        return 0
    try:
        fields = _run(job)
    except (JobFailed, EtudeError) as error:
        failure = _describe_error(job, error)
        job.add_event("end", failure["message"], "error")
        fields = {"status": "failed", "error": failure}
    if job.wish == "run":
        job.write_result(**fields)
    return 0


def _run(job: FineTuningJob) -> Json:
    request = job.request
    is_compare = request["metadata"].get("etude") == "compare"
    if request["method"]["type"] == "dpo":
        task, preferences = _read_preferences(job)
        _announce(job, task.notes)
        assistant, facts = _train_on_preferences(job, task, preferences)
    elif request["method"]["type"] == "reinforcement":
        assistant, facts = _train_on_draws(job)
    else:
        task, train, validation = _read_files(job)
        _announce(job, task.notes)
        assistant, facts = _compare(job) if is_compare else _train(job, task, train, validation)
    job.add_event("model", f"New fine-tuned model created: {job.model_name}")
    result_files = _store_metrics(job)
    job.add_event("end", "The job has successfully completed")
    return {
        "status": "succeeded",
        "fine_tuned_model": job.model_name,
        "assistant": str(assistant),
        "result_files": result_files,
        **facts,
    }


def _announce(job: FineTuningJob, notes: Sequence[str]) -> None:
    for note in (note for note in notes if BY_COLUMN_NAMES not in note):  # OpenAI's own columns
        job.add_event(f"note {note}", _use_client_names(job, note), "warn")
    job.add_event("validated", "Files validated, moving job to queued state")
    job.add_event("started", "Fine-tuning job started")


def _compare(job: FineTuningJob) -> tuple[Path, Mapping[str, Any]]:
    from etude.comparison.compare import compare

    comparison = compare(job.folder / "task.yaml")
    verdict = comparison.verdict
    rows = [
        {"method": row.method, "status": row.status, **asdict(row.estimate)}
        for row in verdict.ladder
    ]
    job.add_event(
        "verdict", verdict.sentence, data={"recommended": verdict.leaning, "ladder": rows}
    )
    facts = {"verdict": verdict.sentence, "recommended": verdict.recommended, "ladder": rows}
    return comparison.run.assistant_folder(verdict.leaning), {
        "trained_tokens": None,
        "etude": facts,
    }


def _read_preferences(job: FineTuningJob) -> tuple[Task, dict[Side, list[Preference]]]:
    """Returns the task, the preferences to train on, and those that choose the epoch. Raises
    InputError for wrong content, JobFailed for too few rows.
    """
    request = job.request
    _link_files(job)
    task = load_task(
        _write_task(
            job,
            {
                "kind": "answer",
                "examples": FILES["training_file"],
                "preferences": FILES["training_file"],
            },
        )
    )
    sides: dict[Side, list[Preference]] = {}
    for side, param in (("train", "training_file"), ("dev", "validation_file")):
        if request[param] is not None:
            sides[side] = read_preferences(job.folder / FILES[param])  # type: ignore[index]
    _require_examples(len(sides["train"]))
    # As in the rows, so that a client's system message and functions are rendered as in training.
    has_own = any(row.input[0].role == "system" for rows in sides.values() for row in rows)
    task = replace(task, row_systems=has_own)
    if "dev" not in sides:
        held_back = max(1, len(sides["train"]) // 10)
        message = (
            f"There is no validation file, so the last {held_back} pairs are not trained on and "
            "choose the epoch."
        )
        job.add_event("no validation", message, "warn")
        sides["train"], sides["dev"] = sides["train"][:-held_back], sides["train"][-held_back:]
    return task, sides


def _train_on_preferences(
    job: FineTuningJob, task: Task, preferences: Mapping[Side, list[Preference]]
) -> tuple[Path, Mapping[str, Any]]:
    models = Models()
    rows = [Example(str(n), each.input, each.chosen) for n, each in enumerate(preferences["train"])]
    train = Dataset(tuple(rows))
    if (job.folder / "start").exists():
        student = load(job.folder / "start")
    else:
        untrained = fit_context.initial_assistant(task, train, models)
        student = METHOD.build_untrained(task, untrained, train, models)
    log = StepLog(job, 0, has_validation=True)
    context = fit_context.FitContext(
        models, choose_metric(task, train), job.folder / "work", seed=task.seed, log=log
    )
    context.preferences = preferences
    task = _scale_rate(job, task, models.get_trainable(student.model), len(preferences["train"]))
    tuned = PREFER.train_on_preferences(task, student, context)
    if not (job.folder / "assistant").exists():
        tuned.save(job.folder / "assistant")
    return job.folder / "assistant", {
        "trained_tokens": context.params["tokens"],
        "hyperparameters": None,
    }


def _train_on_draws(job: FineTuningJob) -> tuple[Path, Mapping[str, Any]]:
    """Train on the best of several drawn answers to each prompt: rejection sampling, as in RFT
    (Yuan et al. 2023, arXiv 2308.01825). Raises JobFailed if of the answers to the held-back
    prompts all pass the grader, or none.
    """
    _link_files(job)
    items = _read_prompts(job, "training_file")
    _require_examples(len(items))
    num_train = len(items) - max(MIN_HELD_BACK, len(items) // 5)
    if job.request["validation_file"]:
        num_train = len(items)
        items = [*items, *_read_prompts(job, "validation_file")]
    roles = {"developer": "system"}
    chats = [
        tuple(
            Message(roles.get(turn["role"], turn["role"]), turn["content"])
            for turn in item["messages"]
        )
        for item in items
    ]
    _announce(job, [DRAWS_NOTE.format(num=len(items) - num_train)])
    grader = job.request["method"]["reinforcement"]["grader"]
    tools = build_tools({})
    requests = [Request(chat, MAX_DRAW_TOKENS) for chat in chats]
    model = Models().get(ModelRef(job.request["base"]), "sample")
    draws = draw_best(model, requests, items, grader, tools, job.folder / "draws.jsonl")
    before = estimate([draw["share"] for draw in draws[num_train:]])
    require_signal(before.value, draws[-1]["error"])
    best = [
        {"messages": [*item["messages"], {"role": "assistant", "content": draw["text"]}]}
        for item, draw in zip(items[:num_train], draws, strict=False)
        if draw["passes"]
    ]
    job.add_event(
        "drawn", f"{len(best)} of {num_train} prompts have an answer that passes; it is trained on."
    )
    _require_examples(len(best))
    files.write_lines(job.folder / "best.jsonl", best)
    task = load_task(_write_task(job, {"kind": "answer", "examples": "best.jsonl"}))
    task, train = load_dataset(task, MinRows(1, 0, 0))
    folder, facts = _train(job, task, train, None)
    tuned = load(folder)
    models = Models()
    own = Message("system", task.instructions)
    inputs = [tuple(turn for turn in chat if turn != own) for chat in chats[num_train:]]
    requests = [
        replace(r, max_tokens=MAX_DRAW_TOKENS) for r in tuned.build_requests(inputs, models)
    ]
    model = models.get(tuned.model, "sample")
    draws = draw_best(model, requests, items[num_train:], grader, tools, job.folder / "tuned.jsonl")
    after = estimate([draw["share"] for draw in draws])
    shares = f"{format_percent(before.value)} before, {format_percent(after.value)} after training"
    job.add_event(
        "measured", f"Share of answers to the {len(draws)} held-back rows that pass: {shares}."
    )
    measured = {"before": asdict(before), "after": asdict(after)}
    return folder, {**facts, "etude": {**facts["etude"], "held_back": measured}}


def _read_prompts(job: FineTuningJob, param: str) -> list[Json]:
    """Returns the rows of a file, chats that end with the user's turn. A grader may compare answers
    with their other fields. Raises InputError for the first row that is something else.
    """
    items = []
    for number, line in enumerate(
        (job.folder / FILES[param]).read_text("utf-8-sig", "replace").split("\n"), 1
    ):
        try:
            item = files.parse_storable_json(line or "{}")
            texts = (
                [turn["role"] + turn["content"] for turn in item["messages"]] if item else ["user"]
            )
        except (ValueError, KeyError, TypeError):
            texts = []
        if not texts or not (item == {} or item["messages"][-1]["role"] == "user"):
            remedy = "write messages that end with the user's, and no answer"
            location = f"{FILES[param]}:{number}"
            raise InputError.of(
                location, "not a prompt for reinforcement", quote_value(line), remedy
            )
        items += [item] if item else []
    return items


def _read_files(job: FineTuningJob) -> tuple[Task, Dataset, Dataset | None]:
    """Returns the task of the job, its training rows and its validation rows. Raises InputError for
    wrong content, with every error and its line, and JobFailed for too few rows.
    """
    request = job.request
    _link_files(job)
    task_file = _write_task(job, {"kind": "answer", "examples": FILES["training_file"]})
    task, train = load_dataset(load_task(task_file), MinRows(1, 0, 0))
    _require_examples(len(train))
    if request["validation_file"] is None:
        message = (
            "There is no validation file, so all rows are trained on and the weights of the last "
            "epoch are saved."
        )
        job.add_event("no validation", message, "warn")
        return task, train, None
    rows = read_rows(definition.RowSource(job.folder / FILES["validation_file"]), task.kind)
    return task, train, Dataset(tuple(rows.examples))


def _link_files(job: FineTuningJob) -> None:
    for param, name in FILES.items():
        file_id = job.request[param]
        if file_id is not None and not (job.folder / name).exists():
            content = Path(job.request["files"]) / file_id / "content"
            if not content.exists():
                raise JobFailed(f"invalid_{param}", f"The file {file_id} was deleted.", param)
            link_or_copy(str(content), str(job.folder / name))


def _write_task(job: FineTuningJob, settings: Mapping[str, Any]) -> Path:
    request = job.request
    seed = {} if request["seed"] is None else {"seed": request["seed"]}
    chosen = {name: value for name, value in request["hyperparameters"].items() if value != "auto"}
    train = {SETTINGS[name]: value for name, value in chosen.items() if name in SETTINGS}
    body = {"name": "job", "model": request["base"], **settings, "train": train, **seed}
    write_text(job.folder / "task.yaml", yaml.safe_dump(body, sort_keys=False))
    return job.folder / "task.yaml"


def require_signal(passing_share: float, grader_error: str) -> None:
    """Raise JobFailed if all answers drawn to the held-back prompts pass the grader, or none."""
    if 0 < passing_share < 1:
        return
    share = f"{'All' if passing_share else 'None'} of the answers drawn to the held-back rows"
    message = f"{share} pass the grader, so there is nothing to learn. {grader_error}".strip()
    raise JobFailed("no_signal", message, "method.reinforcement.grader")


def _require_examples(num_examples: int) -> None:
    if num_examples < MIN_EXAMPLES:
        message = (
            f"Training file has {num_examples} example(s), but must have at least {MIN_EXAMPLES} "
            "examples"
        )
        raise JobFailed("invalid_n_examples", message, "training_file")


def _describe_error(job: FineTuningJob, error: Exception) -> Json:
    if isinstance(error, JobFailed):
        return error.error
    code = "server_error"
    param = None
    message = str(error)
    if isinstance(error, TrainingDiverged):
        code = "training_diverged"
    elif isinstance(error, InputError):
        file = error.issues[0].location.partition(":")[0]
        param = next((param for param, name in FILES.items() if name == file), None)
    if isinstance(error, InputError) and param:
        # Without a validation file, rows are checked twice.
        issues = InputError(list(dict.fromkeys(error.issues)))
        message = SERVER_ADVICE.sub(" or leave it out", _use_client_names(job, str(issues)))
        message = f"The job failed due to an invalid {param.replace('_', ' ')}. {message}"
        code = f"invalid_{param}"
    return {"code": code, "message": message, "param": param}


def _use_client_names(job: FineTuningJob, text: str) -> str:
    names = {FILES[param]: name for param, name in job.request["filenames"].items()}
    return re.sub(
        r"(?<![\w.-])(training|validation)\.jsonl",
        lambda match: names.get(match[0], match[0]),
        text,
    )


def _train(
    job: FineTuningJob, task: Task, train: Dataset, validation: Dataset | None
) -> tuple[Path, Mapping[str, Any]]:
    """Trains and saves the last epochs as checkpoints. Returns the assistant's folder and fields of
    the result.
    """
    work = job.folder / "work"
    adapter = job.folder / "work" / "adapter"
    models = Models()
    student = METHOD.build_untrained(
        task, fit_context.initial_assistant(task, train, models), train, models
    )
    dev = validation or train.select(
        range(min(NUM_PROBE_ROWS, len(train))), "whose loss ends an epoch"
    )
    model = models.get_trainable(student.model)
    task = _scale_rate(job, task, model, len(train))
    run = build_training_run(task, student, train.examples, dev, model)
    has_validation = validation is not None
    if not has_validation:  # no epoch is chosen: all are run, and the last one's weights are saved
        run = replace(run, config=replace(run.config, patience=run.config.epochs))
    log = StepLog(job, run.steps, has_validation)

    def save_checkpoint() -> dict[str, float]:
        """Saves the weights of an epoch. Without a validation file, a later epoch always counts as
        better.
        """
        step = log.last_step
        if step:
            _save_epoch(job, model.module, student, step)
        return {} if has_validation else {"score": float(step)}

    if not (work / "trained.json").exists():
        record = run.train(work, task.model, log, save_checkpoint)
        write_json(
            work / "trained.json", {"tokens": record.params["tokens"], "epochs": run.config.epochs}
        )
    tuned = replace(student, model=replace(student.model, adapter=adapter))
    if not (job.folder / "assistant").exists():
        tuned.save(job.folder / "assistant")
    multiplier = job.request["hyperparameters"].get("learning_rate_multiplier", "auto")
    hyperparameters = {
        "n_epochs": run.config.epochs,
        "batch_size": run.config.rows_per_step,
        "learning_rate_multiplier": 1.0 if multiplier == "auto" else multiplier,
    }
    return job.folder / "assistant", {
        "hyperparameters": hyperparameters,
        "trained_tokens": read_json(work / "trained.json")["tokens"],
        "etude": {"learning_rate": run.config.learning_rate, "base": task.model},
    }


def _scale_rate(job: FineTuningJob, task: Task, model: TrainableModel, num_rows: int) -> Task:
    multiplier = job.request["hyperparameters"].get("learning_rate_multiplier", "auto")
    if multiplier == "auto":
        return task
    default = choose_config(task, model, num_rows).learning_rate
    return replace(task, train={**task.train, "learning_rate": default * multiplier})


def _save_epoch(job: FineTuningJob, module: Any, student: Assistant, step: int) -> None:
    from etude.training.layers.lora import Adapter, save_adapter

    adapters = [layer for layer in module.modules() if isinstance(layer, Adapter)]
    folder = job.folder / "checkpoints" / f"step-{step}"
    if not folder.exists():
        aside = job.folder / "checkpoints" / f".step-{step}"
        save_adapter(adapters, aside / "weights", student.model.name)
        replace(student, model=replace(student.model, adapter=aside / "weights")).save(
            aside / "assistant"
        )
        (aside / "assistant").rename(folder)
        shutil.rmtree(aside)
    job.add_event(
        f"checkpoint {step}",
        f"Checkpoint created at step {step} with Snapshot ID: {job.name_checkpoint(step)}",
    )
    ordered = sorted(job.checkpoint_folders, key=lambda path: int(path.name.partition("-")[2]))
    for old in ordered[:-NUM_CHECKPOINTS]:
        shutil.rmtree(old)


class StepLog:
    """Receives the lines of the training loop and appends those of the job to steps.jsonl."""

    def __init__(self, job: FineTuningJob, total_steps: int, has_validation: bool) -> None:
        self.file = job.folder / "steps.jsonl"
        self.total_steps = total_steps
        self.has_validation = has_validation
        self.last_step = 0

    def __call__(self, line: Mapping[str, Any]) -> None:
        if "resumed_at_step" in line:
            self.last_step = line["resumed_at_step"]
        elif "step" in line:
            self.last_step = line["step"]
            self._append(
                kind="step",
                step=line["step"],
                train_loss=line["loss"],
                total_steps=self.total_steps,
            )
        elif line.get("epoch") == 0:
            self._append(kind="begin", step=0, total_steps=self.total_steps)
        elif line.get("epoch"):
            valid_loss = line["dev_loss"] if self.has_validation else None
            self._append(
                kind="epoch",
                step=self.last_step,
                train_loss=line["train_loss"],
                valid_loss=valid_loss,
            )

    def _append(self, **fields: Any) -> None:
        append_line(self.file, {"created_at": int(time.time()), **fields})


def _store_metrics(job: FineTuningJob) -> list[str]:
    """Stores the table of steps as the job's result file and returns its id; nothing if there are
    no steps, or if the file exceeds the quota. After a restart it returns the same file.
    """
    request = job.request
    note = job.folder / "result_file.txt"
    if note.exists():
        return [note.read_text(encoding="utf-8")]
    if not (job.folder / "steps.jsonl").exists():
        return []
    lines = list(read_lines(job.folder / "steps.jsonl"))
    steps = {line["step"]: line for line in lines if line["kind"] == "step"}
    valid = {line["step"]: line["valid_loss"] for line in lines if line["kind"] == "epoch"}
    rows = [
        f"{step},{line['train_loss']:.5f},,"
        f"{'' if valid.get(step) is None else format(valid[step], '.5f')},"
        for step, line in steps.items()
    ]
    table = (
        "\n".join(["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy", *rows])
        + "\n"
    )
    content = (
        table.encode() if request["result_files"] == "plain" else base64.b64encode(table.encode())
    )
    store = FileStore(Path(request["files"]), request["quota"])
    try:
        file_id = str(
            store.store(io.BytesIO(content), "step_metrics.csv", "fine-tune-results")["id"]
        )
    except ApiError as error:
        job.add_event(
            "no result file", f"The result file cannot be stored. {error.message}", "warn"
        )
        return []
    write_text(note, file_id)
    return [file_id]
