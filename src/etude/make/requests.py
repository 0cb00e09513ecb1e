"""What the bigger model is asked: how many rows of which shape, from which parents, and the rows in
its answers.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etude.data.dataset import Dataset
from etude.methods.shared.fit_context import name_shape, resolve_contract
from etude.models.registry import Models, find_backend
from etude.task import Task
from etude.types import Example, Message, ModelRef, Request, Sampling

PARENTS = 4
ROWS_EACH = 5
"""Training rows that a request shows at most, and rows that it asks for."""
# candidates that are asked for, for each wanted row: the gates refuse some, and the others are
# chosen from
SPARE = 2
MAX_TEXT = 4000  # characters of a text of a parent
TOKENS_PER_ROW = 40  # of an answer, besides those of its texts


@dataclass(frozen=True)
class Plan:
    """The requests, the parents of each, and how many rows of each shape there are."""

    requests: Sequence[Request]
    parents: Sequence[Sequence[Example]]
    counts: Counter[str]


def shape_of(task: Task, row: Example) -> str:
    """Name what made rows are balanced by: the label, or which fields the output has."""
    return name_shape(task.kind, task.contract, row)


def plan_requests(task: Task, train: Dataset, num_rows: int, ref: ModelRef, models: Models) -> Plan:
    """Plan `num_rows` rows, those of rare shapes first. With one seed, the plan of the same rows is
    the same.
    """
    rows_by_shape: dict[str, list[Example]] = {}
    for row in train:
        rows_by_shape.setdefault(shape_of(task, row), []).append(row)
    counts = Counter({shape: len(rows) for shape, rows in rows_by_shape.items()})
    can_sample = "sample" in find_backend(ref.name).can
    draw = random.Random(f"{task.seed}/make")
    model = models.get(ref)
    requests = list[Request]()
    parents = list[list[Example]]()
    for shape, quota in fill_quotas(counts, num_rows).items():
        rows = rows_by_shape[shape]
        for _ in range(-(-quota * SPARE // ROWS_EACH)):
            parents.append(draw.sample(rows, min(PARENTS, len(rows))))
            turn = Message("user", write_prompt(task, train, parents[-1]))
            longest = max(
                model.count_tokens([Message("user", row.text + row.output)]) for row in parents[-1]
            )
            sampling = Sampling(1.0, seed=len(requests)) if can_sample else None
            requests.append(
                Request((turn,), ROWS_EACH * (2 * longest + TOKENS_PER_ROW), sampling=sampling)
            )
    return Plan(requests, parents, counts)


def fill_quotas(
    counts: Counter[str], num_rows: int, limits: Counter[str] | None = None
) -> Counter[str]:
    """Divide rows among shapes so that the smallest count, with its new rows, is as large as
    possible. With `limits`, no shape gets more than its own, so there may be fewer rows.
    """
    quotas: Counter[str] = Counter()
    for _ in range(num_rows):
        open_shapes = [shape for shape in counts if limits is None or quotas[shape] < limits[shape]]
        if not open_shapes:
            break
        quotas[min(open_shapes, key=lambda shape: (counts[shape] + quotas[shape], shape))] += 1
    return quotas


def write_prompt(task: Task, train: Dataset, parents: Sequence[Example]) -> str:
    """Write a request for rows like the parents, which for one label a row all have the same
    one.
    """
    contract = resolve_contract(task, train)
    lines = [
        json.dumps(
            {"input": row.text[:MAX_TEXT], "output": row.output[:MAX_TEXT]}, ensure_ascii=False
        )
        for row in parents
    ]
    label = f" with the output {json.dumps(parents[0].output)}" if task.has_one_label else ""
    parts = [
        "You write rows for a data set. Its task:",
        *filter(None, (task.instructions, contract.describe() if contract else "")),
        "Rows of the data set, each as a line of JSON:",
        "\n".join(lines),
        f"Write {ROWS_EACH} new rows{label}, each as a line of JSON with input and output. Vary "
        "subject, wording and length, as different people would write. Copy none of the rows. "
        "Write nothing else.",
    ]
    return "\n\n".join(parts)


def parse_rows(text: str) -> Iterator[tuple[str, str]]:
    """Yield input and output of each row in an answer: the JSON objects in it, whatever stands
    between them.
    """
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            output = value.get("output")
            output = (
                output if isinstance(output, str | None) else json.dumps(output, ensure_ascii=False)
            )
            yield _tidy(value.get("input")), _tidy(output)
        place = text.find("{", end)


def _tidy(text: object) -> str:
    # Without halves of characters, which no file can contain.
    return text.encode(errors="ignore").decode().strip() if isinstance(text, str) else ""
