"""Choices after a method is fitted: its confidence, and a threshold for handing over. They are made
on dev, or on train and dev if the method answered both in cross-validation.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import hash_text, read_json
from etude.base.formatting import format_decimal, format_percent, format_share
from etude.data.dataset import Dataset
from etude.evaluate import ScoredAnswer, get_unit
from etude.index.build import load_task_encoder
from etude.index.passages import Passage
from etude.index.search import Search
from etude.limits.scope import get_question
from etude.methods.shared.fit_context import sample_rows
from etude.models.registry import Models
from etude.stats.answer_confidence import fit_confidence, make_constant_confidence
from etude.stats.calibration import (
    choose_threshold,
    count_needed_answers,
    estimate_auroc,
    measure_overconfidence,
)
from etude.stats.recalibration import EDGE, Recalibration, choose_recalibration, fit_recalibration
from etude.task import Task
from etude.task.definition import ErrorCosts, Handover
from etude.task.questions import select_answer, select_question
from etude.types import Answer, SearchRef

NEVER_SURE = 1.1  # A threshold above every score: everything is handed over.
# most training questions that are searched for the nearest one; embedding more takes longer
MAX_TRAINING = 10_000
_DIGEST_BYTES = 16


def choose_handover(
    assistant: Assistant,
    task: Task,
    train: Dataset,
    dev: Sequence[ScoredAnswer],
    models: Models,
    training_folder: Path,
    held_out: Sequence[ScoredAnswer] = (),
) -> tuple[Assistant, list[ScoredAnswer], list[str]]:
    """Recalibrate on `held_out` (train and dev as answered in cross-validation; without it, on
    dev), or fit the confidence in texts, then choose by it what is handed over; return also the dev
    rows as they are rated then, and notes. The vectors of the training questions are in
    `training_folder`.
    """
    costs = task.costs or ErrorCosts()
    handover = task.handover or Handover()
    is_text = task.kind != "classify"
    side = "train and dev" if held_out else "dev"
    assistant, rows, notes = add_recalibration(assistant, held_out or dev, task.seed, side)
    if task.hands_over:
        if is_text or any(row.answer.confidence is not None for row in rows):
            search = fit_training_search(train, task, models, training_folder)
            assistant = replace(assistant, training=search)
        else:
            notes.append("hands over nothing, because its answers have no probability")
    rated = rate_rows(assistant, rows, models, [row.batch for row in held_out])
    if is_text and handover.wrong:
        assistant, rated, notes = add_answer_confidence(assistant, handover, rated, task.seed, side)
    assistant, promise_notes = add_handover(assistant, task, rated, side)
    assistant, cost_notes = add_cost_handover(assistant, costs, rated, side)
    if held_out:
        dev = [replace(row, answer=assistant.recalibrate_questions(row.answer)) for row in dev]
        rated = rate_rows(assistant, dev, models)
    rated = [replace(row, answer=assistant.hand_over(row.answer)) for row in rated]
    return assistant, rated, [*notes, *promise_notes, *cost_notes]


def add_recalibration(
    assistant: Assistant, rows: Sequence[ScoredAnswer], seed: int, side: str = "dev"
) -> tuple[Assistant, Sequence[ScoredAnswer], list[str]]:
    """Recalibrate the assistant's confidence in each question if this lowers the Brier score on
    rows of `side`. Returns the assistant, the rows with their new confidences, and notes.
    """
    notes = []
    recalibrations = {}
    for question in assistant.questions:
        answers = [select_answer(row.answer, question) for row in rows]
        right = [
            answer.text == select_question(row.example, question.name).output
            for answer, row in zip(answers, rows, strict=True)
        ]
        recalibration, note = _recalibrate(rows, answers, right, seed, side)
        if recalibration:
            recalibrations[question.name] = recalibration
            notes.append(f"{question.name}: {note}")
    assistant = replace(assistant, question_recalibrations=recalibrations)
    rows = [replace(row, answer=assistant.recalibrate_questions(row.answer)) for row in rows]
    recalibration, note = _recalibrate(
        rows, [row.answer for row in rows], [row.score.value == 1 for row in rows], seed, side
    )
    if note:
        notes.append(f"all questions together: {note}" if assistant.questions else note)
    return replace(assistant, recalibration=recalibration), rows, notes


def _recalibrate(
    rows: Sequence[ScoredAnswer],
    answers: Sequence[Answer],
    are_right: Sequence[bool],
    seed: int,
    side: str,
) -> tuple[Recalibration | None, str]:
    """Choose a recalibration of the answers' confidence, with a note on it; None and "" if none
    helps.
    """
    rated = [number for number, answer in enumerate(answers) if answer.confidence is not None]
    if not rated:
        return None, ""
    stated = [answers[row].confidence or 0.0 for row in rated]
    right = [float(are_right[row]) for row in rated]
    units = [get_unit(rows[row].example) for row in rated]
    choice = choose_recalibration(stated, right, units, seed)
    if choice is None:
        return None, ""
    excess = measure_overconfidence(stated, right, units)
    reason = ""
    if excess.low > 0 or excess.high < 0:
        direction = "over-confident" if excess.value > 0 else "under-confident"
        mean, share = (format_percent(sum(values) / len(rated)) for values in (stated, right))
        reason = (
            f"is {direction} on {side} (probabilities of {mean} on average, {share} right), so "
        )
    change = f"{choice.brier_before:.3f} before, {choice.brier_after:.3f} after"
    note = (
        f"{reason}its probabilities are recalibrated ({choice.recalibration.kind}): Brier score "
        f"{change}, in cross-validation on {len(rated):,} {side} rows"
    )
    return choice.recalibration, note


def fit_training_search(
    train: Dataset, task: Task, models: Models, folder: Path
) -> SearchRef | None:
    """Save the vectors of the training questions to `folder`, without their texts, unless the
    folder exists. Return None if there is no encoder.
    """
    if not folder.exists():
        encoder = load_task_encoder(task, models, [])
        if encoder is None:
            return None
        rows = sample_rows(train, MAX_TRAINING, task.seed)
        texts = list(dict.fromkeys(get_question(row.input) for row in rows))
        digests = (hash_text(text, 2 * _DIGEST_BYTES) for text in texts)
        passages = [Passage(digest, "train") for digest in digests]
        Search(passages, "meaning", encoder, encoder.embed(texts)).save(folder)
    return SearchRef(folder, read_json(folder / "search.json")["fingerprint"])


def rate_rows(
    assistant: Assistant, rows: Sequence[ScoredAnswer], models: Models, folds: Sequence[int] = ()
) -> list[ScoredAnswer]:
    """Rate rows again that were answered before the assistant got its recalibration, threshold or
    training search. With `folds`, a row was answered from the rows of the other folds.
    """
    search = assistant.load_searches(models).training
    questions = [get_question(row.example.input) for row in rows]
    nearness = search.measure_nearness(questions, folds) if search else [None] * len(rows)
    rated = []
    for row, value in zip(rows, nearness, strict=True):
        answer = row.answer
        if value is not None:
            signals = {**answer.signals, "nearness": value} if answer.signals else {}
            answer = replace(answer, nearness=value, signals=signals)
        stated = answer.confidence if answer.stated_confidence is None else answer.stated_confidence
        rated.append(replace(row, answer=assistant.rate(answer, stated)))
    return rated


def add_answer_confidence(
    assistant: Assistant,
    handover: Handover,
    dev: Sequence[ScoredAnswer],
    seed: int,
    side: str = "dev",
) -> tuple[Assistant, list[ScoredAnswer], list[str]]:
    """Return an assistant that writes texts with its confidence, fitted on dev; the dev rows, each
    rated by a fit without it; and a note if no confidence separates right from wrong answers. Then
    all answers get the same confidence.
    """
    right = [row.score.value >= handover.right for row in dev]
    units = [get_unit(row.example) for row in dev]
    confidence, held_out = fit_confidence([row.answer.signals for row in dev], right, units, seed)
    auroc = estimate_auroc(held_out, right, units)
    notes = []
    if auroc.low <= 0.5:
        confidence = make_constant_confidence(right)
        held_out = [confidence.apply({})] * len(dev)
    if not any(right):
        notes.append(
            f"no answer to {side} is right, because none scores {handover.right:g}; set right: "
            "under handover: to a lower score"
        )
    elif auroc.low <= 0.5:
        notes.append(
            f"no confidence separates right from wrong answers on {side} (AUROC "
            f"{auroc.value:.2f}, 95% interval {auroc.low:.2f} to {auroc.high:.2f}, {sum(right):,} "
            f"of {len(dev):,} answers right), so it answers all questions or none"
        )
    rated = [
        replace(row, answer=replace(row.answer, confidence=value))
        for row, value in zip(dev, held_out, strict=True)
    ]
    training = assistant.training if "nearness" in confidence.signals else None
    return replace(assistant, answer_confidence=confidence, training=training), rated, notes


def add_handover(
    assistant: Assistant, task: Task, dev: Sequence[ScoredAnswer], side: str = "dev"
) -> tuple[Assistant, list[str]]:
    """Return the assistant with a threshold for the task's allowed error rate (`handover:`), and a
    note on it.

    If dev cannot show for any threshold that the error rate is low enough, the assistant hands over
    everything. One row of each unit is used, because the proof needs independent rows.
    """
    handover = task.handover or Handover()
    scored_rows = [
        (get_unit(row.example), row.answer.handover_score, row.score.value >= handover.right)
        for row in dev
        if row.answer.handover_score is not None
    ]
    if handover.wrong is None or not scored_rows:
        return assistant, []
    random.Random(task.seed).shuffle(scored_rows)
    independent_rows = {name: (score, right) for name, score, right in scored_rows}
    scores, right = zip(*independent_rows.values(), strict=True)
    min_score = choose_threshold(scores, right, handover.wrong)
    promise = f"at most {format_share(handover.wrong)} of its answers are wrong"
    assistant = replace(assistant, handover_sentence=handover.say)
    rows = f"{len(independent_rows):,} {side} rows" + (
        ", one of each group" if len(independent_rows) < len(scored_rows) else ""
    )
    measure = "hand-over score" if assistant.training and task.kind == "classify" else "confidence"
    if min_score is None:
        note = (
            f"hands over everything, because {rows} cannot show for any threshold of {measure} "
            f"that {promise}"
        )
        if len(independent_rows) < (needed := count_needed_answers(handover.wrong)):
            note += f"; even if all are right, at least {needed:,} {side} rows are needed"
        return replace(assistant, handover=NEVER_SURE), [note]
    share_answered = sum(score >= min_score for _, score, _ in scored_rows) / len(scored_rows)
    note = (
        f"hands over questions below a {measure} of {min_score:.3f}, so that {promise} (95% "
        f"certain, from {rows}); it answers {format_share(share_answered)} of the {side} rows "
        "itself"
    )
    return replace(assistant, handover=min_score), [note]


def add_cost_handover(
    assistant: Assistant, costs: ErrorCosts, dev: Sequence[ScoredAnswer], side: str = "dev"
) -> tuple[Assistant, list[str]]:
    """Return the assistant with the thresholds from which on an answer is expected to cost less
    than a hand-over, and a note on them.

    The probability that an answer is right is fitted on dev from its hand-over score (Platt). At
    the threshold, the cost of a wrong answer of the label times the probability that it is wrong is
    the cost of a hand-over.
    """
    rows = [row for row in dev if row.answer.handover_score is not None]
    if costs.handover is None or not rows:
        return assistant, []
    handover = costs.handover
    prices = [costs.price_wrong(row.outcome.predicted) for row in rows]
    scores, right = zip(
        *((row.answer.handover_score or 0.0, row.score.value == 1) for row in rows), strict=True
    )
    fitted = fit_recalibration("Platt", scores, right)
    assistant = replace(
        assistant,
        handover=find_cost_threshold(fitted, costs.wrong, handover),
        label_handover={
            label: find_cost_threshold(fitted, price, handover)
            for label, price in costs.labels.items()
        },
    )
    rated = [assistant.hand_over(row.answer).handed_over for row in rows]
    answered = [0.0 if is_right else price for is_right, price in zip(right, prices, strict=True)]
    paid = [handover if is_over else cost for is_over, cost in zip(rated, answered, strict=True)]
    before, after = (format_decimal(sum(values) / len(rows)) for values in (answered, paid))
    note = (
        f"hands over {format_share(sum(rated) / len(rows))} of {side}, whose answers would be "
        f"expected to cost more: a question costs {after} on {len(rows):,} {side} rows, and "
        f"{before} if all are answered"
    )
    return assistant, [note]


def find_cost_threshold(fitted: Recalibration, price: float, handover: float) -> float:
    """Find the score at which a wrong answer's price times the probability that it is wrong is the
    cost of a hand-over; 0 if an answer is always cheaper, `NEVER_SURE` if it never is.
    """
    if price <= handover:
        return 0.0
    score = fitted.invert(1 - handover / price)
    return NEVER_SURE if score >= 1 - EDGE else score
