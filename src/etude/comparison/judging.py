"""A judge model with the task's rubric. It is shown with its agreement with people; the verdict
ignores it.
"""

import re
from collections.abc import Sequence

from etude.base.files import Json
from etude.comparison.ladder_run import LadderRun
from etude.data.formats.preference_files import RatedAnswer, read_rated_answers
from etude.data.splits import Split
from etude.models.endpoint import describe_service
from etude.models.registry import Models
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import Confirm, SendLimits, confirm_service
from etude.runs.verdict import JudgedPair, JudgedShare, JudgeResult
from etude.stats import estimate_sample, kappa, make_score_sample
from etude.stats.agreement import correct_share
from etude.task import JudgeSettings, Task
from etude.types import Message, ModelRef, Request

MIN_LABELLED = 30  # With fewer rows labelled by people, the judge is reported as not checked.
REPLY_TOKENS = 16  # Tokens of a reply, which is one word.
SINGLE_PROMPT = (
    "You judge answers by a rubric. Reply with one word: yes if the answer meets the rubric, else "
    "no."
)
PAIR_PROMPT = (
    "You compare two answers by a rubric. Reply with one letter, A or B: the answer that meets "
    "the rubric better."
)


def confirm_judging(
    task: Task, split: Split, models: Models, on_event: OnEvent, confirm: Confirm
) -> None:
    """Report the maximum that the judge will be sent, and ask. Answers are assumed to be as long as
    those of dev.

    Raises Declined, and InputError for labels that cannot be read.
    """
    if (judge := task.judge) is None:
        return
    dev = split.dev
    num_test = len(split.test)
    model = models.get(ModelRef(judge.endpoint.name))
    singles = [model.count_tokens(_ask_single(judge, row.text, row.output).messages) for row in dev]
    pairs = [
        model.count_tokens(_ask_pair(judge, row.text, row.output, row.output).messages)
        for row in dev
    ]
    num_labelled = len(_read_labels(judge))
    num_requests = (
        num_labelled + 4 * num_test
    )  # each row of two methods alone, and the pair in both orders
    tokens = (sum(singles) * (num_labelled + 2 * num_test) + sum(pairs) * 2 * num_test) / len(dev)
    limits = SendLimits(num_requests, round(tokens), num_requests * REPLY_TOKENS)
    service = describe_service(judge.endpoint.name, task.endpoints)
    purpose = (
        "will get the rubric, and the test questions with the answers of the two methods of the "
        "headline"
    )
    confirm_service(service, limits, purpose, on_event, confirm)


def ask_judge(ladder_run: LadderRun) -> JudgeResult | None:
    """Ask the judge about the test answers of the headline pair. None without a judge."""
    if (judge := ladder_run.task.judge) is None:
        return None
    ladder_run.on_event(NoteEvent(f"Asking the judge, {judge.endpoint.title} ..."))
    labelled = _read_labels(judge)
    requests = [_ask_single(judge, rated.example.text, rated.example.output) for rated in labelled]
    replies = _ask(ladder_run, requests)
    answers = [(rated.is_good, reply) for rated, reply in zip(labelled, replies, strict=True)]
    readable = [(is_good, reply == "yes") for is_good, reply in answers if reply in ("yes", "no")]
    num_replies = len(replies)
    num_unreadable = len(replies) - len(readable)
    is_checked = len(readable) >= MIN_LABELLED
    people, verdicts = zip(*readable, strict=True) if readable else ((), ())
    pair = ladder_run.run.info["decided"]
    names = [pair[side] for side in ("untuned", "tuned") if pair[side]]
    test_lines = [
        [line for line in ladder_run.run.read_predictions(name) if line["side"] == "test"]
        for name in names
    ]
    shares = []
    for name, lines in zip(names, test_lines, strict=True):
        replies = _ask(
            ladder_run, [_ask_single(judge, line["input"], line["answer"]) for line in lines]
        )
        units = [line["unit"] for line in lines]
        judged = [
            (float(reply == "yes"), unit)
            for reply, unit in zip(replies, units, strict=True)
            if reply in ("yes", "no")
        ]
        num_replies = num_replies + len(lines)
        num_unreadable = num_unreadable + len(lines) - len(judged)
        if judged:
            sample = make_score_sample(*map(list, zip(*judged, strict=True)))
            corrected = correct_share(sample, people, verdicts) if is_checked else None
            shares.append(JudgedShare(name, estimate_sample(sample), corrected))
    return JudgeResult(
        judge.endpoint.title,
        len(readable),
        kappa(people, verdicts) if is_checked else None,
        tuple(shares),
        _compare_pair(ladder_run, judge, names, *test_lines) if len(names) == 2 else None,
        num_unreadable,
        num_replies,
    )


def _compare_pair(
    ladder_run: LadderRun,
    judge: JudgeSettings,
    names: Sequence[str],
    untuned: Sequence[Json],
    tuned: Sequence[Json],
) -> JudgedPair:
    # A win is a preference in both orders: B if the tuned answer comes second, A if first. Else it
    # is a tie. Under a budget, one method may have more answers.
    others = {line["id"]: line for line in untuned}
    rows = [(others[line["id"]], line) for line in tuned if line["id"] in others]
    in_order = _ask(
        ladder_run, [_ask_pair(judge, a["input"], a["answer"], b["answer"]) for a, b in rows]
    )
    swapped = _ask(
        ladder_run, [_ask_pair(judge, a["input"], b["answer"], a["answer"]) for a, b in rows]
    )
    replies = list(zip(in_order, swapped, strict=True))
    wins = replies.count(("b", "a"))
    losses = replies.count(("a", "b"))
    return JudgedPair(names[1], names[0], wins, losses, len(rows) - wins - losses)


def _read_labels(judge: JudgeSettings) -> list[RatedAnswer]:
    return read_rated_answers(judge.labels) if judge.labels else []


def _ask_single(judge: JudgeSettings, question: str, answer: str) -> Request:
    return _build_request(SINGLE_PROMPT, judge, {"Question": question, "Answer": answer})


def _ask_pair(judge: JudgeSettings, question: str, first: str, second: str) -> Request:
    return _build_request(
        PAIR_PROMPT, judge, {"Question": question, "Answer A": first, "Answer B": second}
    )


def _build_request(role: str, judge: JudgeSettings, sections: dict[str, str]) -> Request:
    text = "\n\n".join(
        f"# {name}\n{section}" for name, section in {"Rubric": judge.rubric, **sections}.items()
    )
    return Request((Message("system", role), Message("user", text)), REPLY_TOKENS)


def _ask(ladder_run: LadderRun, requests: Sequence[Request]) -> list[str]:
    # The first word of each reply, in lower case.
    judge = ladder_run.task.judge
    assert judge is not None, "only a judge is asked"
    completions = (
        ladder_run.models.get(ModelRef(judge.endpoint.name)).generate(requests) if requests else []
    )
    words = (re.search(r"\w+", reply.text.casefold()) for reply in completions)
    return [word[0] if word else "" for word in words]
