"""Replay: the untuned model's answers to general questions, which training repeats so that less is
forgotten.

The questions are in replay.yaml. Learning to give one's own earlier answers keeps what a model has
learned before (Robins 1995; for language models Scialom et al. 2022, arXiv 2205.12393).
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

from etude.assistant import Assistant
from etude.base.word_lists import read_table
from etude.evaluate import AnswerLog, answer_in_batches
from etude.methods.shared.fit_context import FitContext
from etude.methods.shared.training_run import TrainingRun
from etude.task import Task
from etude.types import Answer, Message, ModelRef, Request, Sampling

ANSWERS_FILE = "replay.jsonl"
MAX_TOKENS = 96  # of an answer; the rest of a longer one is not learned
MAX_SHARE = 0.2  # of a look's training time for the answers


def add_replayed_rows(run: TrainingRun, task: Task, context: FitContext) -> TrainingRun:
    """Add to a run the rows of `train: {replay: SHARE}`, so many that they are this share of all
    rows: general questions with the untuned model's answers.

    The model answers each question once, without the task's instructions. Its answers are drawn at
    temperature 1, with the question's place as seed: repeating only the likeliest ones would narrow
    what the model says. They are written to the folder of the method's first look or of the
    context, so a resumed or longer training asks nothing again. They take at most a fifth of a
    look's time; the questions that are answered by then are repeated.
    """
    from etude.render import render_training
    from etude.training.rows.batches import REPLAYED, TokenRow

    share = float(task.train.get("replay", 0.0))
    num_rows = round(share / (1 - share) * len(run.rows))
    if not num_rows:
        return run
    questions = read_table(__file__, "replay.yaml")["questions"]
    questions = random.Random(f"{task.seed}/replay").sample(questions, len(questions))[:num_rows]
    inputs = [(Message("user", question),) for question in questions]

    def build_requests() -> list[Request]:
        requests = base.build_requests(inputs, models)
        return [
            replace(request, sampling=Sampling(1.0, seed=seed))
            for seed, request in enumerate(requests)
        ]

    base = Assistant("replay", "answer", ModelRef(task.model), max_tokens=MAX_TOKENS)
    models = context.models
    log = AnswerLog((context.first_look or context.folder) / ANSWERS_FILE)
    batches = answer_in_batches(base, models, questions, build_requests, log)
    rows = []
    answers = dict[int, Answer]()
    seconds = 0.0
    box = context.effort.train_seconds or math.inf
    max_tokens = run.config.max_tokens
    for _, batch in batches:
        answers |= batch
        seconds += sum(answer.seconds for answer in batch.values())
        if seconds > MAX_SHARE * box or context.is_stopped():
            break
    for position, answer in sorted(answers.items()):
        chat = (*inputs[position], Message("assistant", answer.text.strip()))
        for ids, trained in render_training(run.model.tokenizer, chat):
            end = max(index for index, is_trained in enumerate(trained) if is_trained)
            trained[
                end
            ] = (
                not answer.truncated
            )  # the model does not learn to stop where the limit cut an answer
            if any(trained) and len(ids) <= max_tokens:
                rows.append(TokenRow(REPLAYED, tuple(ids), tuple(trained)))
    rows = [*itertools.islice(itertools.cycle(rows), num_rows)]
    sentence = (
        f"{len(rows):,} more rows repeat the untuned model's answers to {len(answers)} general "
        "questions."
    )
    return replace(
        run,
        rows=[*run.rows, *rows],
        supervision=(*run.supervision, sentence),
        replay_seconds=seconds,
        full_rows=run.full_rows and round(run.full_rows / (1 - share)),
    )
