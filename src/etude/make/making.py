"""`etude make`: a bigger model writes rows from the training rows, and gates decide which of them
count.

The rows are written to a file for the task's `made_rows:`, with a page on what was refused. They
are only trained on.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import hash_text, write_lines, write_text
from etude.base.formatting import format_count
from etude.base.issues import refuse_existing
from etude.base.pages import render_page
from etude.base.progress import report_progress
from etude.data.splits import input_key
from etude.errors import InputError, quote_value
from etude.evaluate import AnswerLog, answer_in_batches
from etude.index.build import load_task_encoder
from etude.make.gates import LIKE_TEST, Gates, choose_covering, compare_texts
from etude.make.requests import Plan, fill_quotas, parse_rows, plan_requests, shape_of
from etude.models import weights
from etude.models.registry import Models, get_title
from etude.models.remote import hash_request
from etude.runs.events import OnEvent
from etude.runs.folder import FOLDER, REQUESTS
from etude.runs.lifecycle import TaskRun, load_task_rows
from etude.runs.questions import Confirm, SendLimits, answer_unasked, confirm_service
from etude.runs.split import add_train_only, compute_split
from etude.task import Task
from etude.task.endpoint import ENDPOINT_SYNTAX, is_url, parse_endpoint
from etude.types import AS_MADE, CANDIDATES, MADE, Example, Message, ModelRef

TYPICAL = 10  # rows on the page
REFUSED_SHOWN = 5  # refused rows on the page, for each reason


@dataclass(frozen=True)
class MadeRows:
    """The rows that were made, and why others were refused."""

    file: Path
    rows: Sequence[Example]
    candidates: Sequence[Example]
    """All that passed the gates, those that were not chosen included."""
    refused: Counter[str]
    num_wanted: int
    num_written: int
    """Different rows that the model wrote."""
    notes: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """What was refused and why, and some of the rows."""
        return self.file.with_suffix(".html")

    @property
    def sentence(self) -> str:
        """How many rows there are, of how many."""
        return (
            f"The model wrote {format_count(self.num_written, 'different row')}; "
            f"{len(self.candidates):,} passed the gates, and {len(self.rows):,} of them were "
            f"chosen ({self.num_wanted:,} were wanted)."
        )


def make_rows(
    task_file: Path | str,
    num_rows: int,
    *,
    model: str | None = None,
    output: Path | None = None,
    on_event: OnEvent = lambda event: None,
    confirm: Confirm = answer_unasked,
) -> MadeRows:
    """Let a bigger model (`model`, or else the task's `prompt_model:`) write rows, and write those
    that pass the gates to `output` (default: made.jsonl next to the task).

    The model is sent training rows only. Rows that are near-duplicates of test rows are counted and
    never shown. The same call resumes after a kill, and no request is sent twice. The parents of
    made rows stay in train in all later splits. Raises InputError for the task, its rows, the model
    or an existing output, Declined, ModelError.
    """
    task, dataset, test = load_task_rows(task_file, None)
    ref, models = _find_model(task, model)
    output = output or task.folder / "made.jsonl"
    for file in (output, output.with_suffix(AS_MADE)):  # the second has rows that people have read
        refuse_existing(file, f"choose another with --output, or move {output.stem}.* away")
    split = compute_split(TaskRun(task, dataset, test, {}).run, task, dataset, test)
    train = split.train.real
    train = train.select([row.id for row in train if len(row.input) == 1], "with one turn")
    if not len(train):
        message = "no row has a single turn before its answer, and others cannot be made"
        raise InputError.of(task.examples.file.name, message, "", "write made_rows: by hand")
    # 1. Ask. A parent is in no later test: this is saved before the first row is written from it.
    plan = plan_requests(task, train, num_rows, ref, models)
    if service := models.find_service(ref.name):
        tokens = sum(
            map(models.get(ref).count_tokens, (request.messages for request in plan.requests))
        )
        limits = SendLimits(
            len(plan.requests), tokens, sum(request.max_tokens for request in plan.requests)
        )
        purpose = "will get the instructions, and training rows with answers, to write more rows"
        confirm_service(service, limits, purpose, on_event, confirm)
    add_train_only(
        task.folder / FOLDER, sorted({input_key(row) for rows in plan.parents for row in rows})
    )
    written = ask(task, plan, ref, models)
    # 2. Refuse what fails a gate, and choose from the others.
    notes: list[str] = []
    encoder = load_task_encoder(task, models, notes)
    gates = Gates(task, split, encoder)
    candidates = gates.select([row for row, _ in written])
    everything = [*candidates, *train]
    shapes = [shape_of(task, row) for row in everything]
    compare = compare_texts([row.text for row in everything], encoder)
    quotas = fill_quotas(plan.counts, num_rows, Counter(shapes[: len(candidates)]))
    chosen = choose_covering(candidates, shapes, quotas, compare)
    refused = Counter({reason: len(rows) for reason, rows in gates.refused.items() if rows})
    made = MadeRows(output, chosen, candidates, refused, num_rows, len(written), tuple(notes))
    # 3. Write the page and the candidates, and last the rows, whose file says that all is done.
    write_text(made.page, _render(task, get_title(ref.name), made, gates))
    parents = {row.id: [parent.id for parent in parents] for row, parents in written}
    for file, rows in ((output.with_suffix(CANDIDATES), candidates), (output, chosen)):
        lines = (
            {"id": row.id, "input": row.text, "output": row.output, "source": MADE} for row in rows
        )
        write_lines(file, (line | {"parents": parents[line["id"]]} for line in lines))
    return made


def _find_model(task: Task, name: str | None) -> tuple[ModelRef, Models]:
    name = name or task.prompt_model or ""
    is_small = weights.is_too_small(name)
    if not name or is_small or (is_url(name) and not parse_endpoint(name)):
        message = (
            "rows need a bigger model than this one"
            if is_small
            else "this is no model that writes rows"
        )
        remedy = (
            f"give the name of a bigger one, or {ENDPOINT_SYNTAX} as prompt_model: in the task file"
        )
        raise InputError.of("--model", message, quote_value(name), remedy)
    return ModelRef(name), Models(
        endpoints=task.endpoints, journal=task.folder / FOLDER / "made" / REQUESTS
    )


def ask(
    task: Task, plan: Plan, ref: ModelRef, models: Models
) -> list[tuple[Example, Sequence[Example]]]:
    """Return the rows in the answers, each once, with their parents. Answers are read from the log
    first.
    """
    names = [hash_request([ref.name], request) for request in plan.requests]
    digest = hash_text("".join(names))
    log = AnswerLog(task.folder / FOLDER / "made" / f"{digest}.jsonl")
    rows: dict[str, tuple[Example, Sequence[Example]]] = {}
    asker = Assistant("make", "answer", ref)
    num_done = 0
    for _, answers in answer_in_batches(asker, models, names, lambda: plan.requests, log):
        num_done += len(answers)
        report_progress(num_done, len(names))
        for number, answer in answers.items():
            for question, output in parse_rows(answer.text):
                output = task.examples.tidy(output)
                row_id = "made-" + hash_text(json.dumps([question, output]), 12)
                row = Example(row_id, (Message("user", question),), output, source=MADE)
                rows.setdefault(row_id, (row, plan.parents[number]))
    return [*rows.values()]


def _render(task: Task, model: str, made: MadeRows, gates: Gates) -> str:
    return render_page(
        Path(__file__).parent,
        "page.html.j2",
        "report.css",
        task=task,
        made=made,
        model=model,
        typical=random.Random(f"{task.seed}/page").sample(made.rows, min(TYPICAL, len(made.rows))),
        refused={
            reason: (len(rows), [] if reason == LIKE_TEST else rows[:REFUSED_SHOWN])
            for reason, rows in gates.refused.items()
            if rows
        },
    )
