"""Rejection sampling: draw several answers to each request, grade them, and keep the best one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etude.base.files import Json, append_line, list_lines
from etude.types import Model, Request, Sampling
from etude_openai.graders.grade import Tools, grade

NUM_DRAWS = 4  # answers to each request


def draw_best(
    model: Model,
    requests: Sequence[Request],
    items: Sequence[Json],
    grader: Json,
    tools: Tools,
    file: Path,
) -> list[Json]:
    """Draw answers at temperature 1, and add a line for each request to `file`: the best answer by
    passing and score, whether it passes, the share that passes, and an error of the grader.
    Requests that have a line are not drawn again. An empty answer never passes.
    """
    lines = list_lines(file)
    for number in range(len(lines), len(requests)):
        drawn = model.generate(
            [
                replace(requests[number], sampling=Sampling(1.0, seed=seed))
                for seed in range(NUM_DRAWS)
            ]
        )
        texts = [completion.text.replace("\0", "").strip() for completion in drawn]
        grades = [grade(grader, items[number], {"output_text": text}, tools) for text in texts]
        ranks = [
            (bool(text) and result.passed, result.score)
            for text, result in zip(texts, grades, strict=True)
        ]
        (passes, _), best = max(zip(ranks, texts, strict=True), key=lambda pair: pair[0])
        error = next((result.detail for result in grades if result.detail), "")
        share = sum(passed for passed, _ in ranks) / NUM_DRAWS
        line = {"text": best, "passes": passes, "share": share, "error": error}
        append_line(file, line)
        lines.append(line)
    return lines
