"""A judge model, by the rubric of the task: its numbers stand beside its agreement with people and decide nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from etude.base.files import Json
from etude.comparison.ladder_run import LadderRun
from etude.data.formats.pairs import Judged, read_judged
from etude.data.splits import Split
from etude.models.registry import Models
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import Confirm, Sending, confirm_endpoint
from etude.runs.verdict import JudgedPair, JudgedShare, JudgeResult
from etude.stats import estimate_sample, kappa, score_sample
from etude.stats.agreement import corrected_share
from etude.task import Judge, Task
from etude.types import Message, ModelRef, Request

LEAST = 30
"""Rows labelled by people without which the judge counts as not checked."""
ROOM = 16
"""Tokens of a reply, which is one word."""
ALONE = "You judge answers by a rubric. Reply with one word: yes if the answer meets the rubric, else no."
YES_NO = ("yes", "no")
PAIR = "You compare two answers by a rubric. Reply with one letter, A or B: the answer that meets the rubric better."


def confirm_judging(task: Task, parts: Split, models: Models, on_event: OnEvent, confirm: Confirm) -> None:
    """Says what the judge will be sent at most, and asks, as for other endpoints. Answers are taken to be as long as
    those of dev. Raises Declined, and InputError for labels that cannot be read."""
    if (judge := task.judge) is None:
        return
    rows = [row.output for row in parts.dev]
    model = models.get(ModelRef(judge.endpoint.name))
    sizes = [model.count_tokens(_alone(judge, row.text, row.output).messages) for row in parts.dev]
    pairs = [model.count_tokens(_pair(judge, row.text, row.output, row.output).messages) for row in parts.dev]
    labelled = len(_labelled(judge))
    requests = labelled + 4 * len(parts.test)
    tokens = (sum(sizes) * (labelled + 2 * len(parts.test)) + sum(pairs) * 2 * len(parts.test)) / len(rows)
    what = "gets the rubric, questions and answers of the test"
    confirm_endpoint(
        judge.endpoint, Sending(requests, round(tokens), requests * ROOM), what, on_event, confirm
    )


def judged(climb: LadderRun) -> JudgeResult | None:
    """What the judge makes of the test answers of the declared pair; None without a judge."""
    if (judge := climb.task.judge) is None:
        return None
    climb.on_event(NoteEvent(f"Asking the judge, {judge.endpoint.title} ..."))
    labelled = _labelled(judge)
    replies = _asked(climb, [_alone(judge, each.row.text, each.row.output) for each in labelled])
    known = [
        (each.good, reply == "yes") for each, reply in zip(labelled, replies, strict=True) if reply in YES_NO
    ]
    checked = len(known) >= LEAST
    people, own = zip(*known, strict=True) if known else ((), ())
    shares, unread = [], len(replies) - len(known)
    names = [name for name in (climb.run.info["decided"][side] for side in ("untuned", "tuned")) if name]
    lines = {name: [row for row in climb.run.predictions(name) if row["side"] == "test"] for name in names}
    for name, rows in lines.items():
        said = _asked(climb, [_alone(judge, row["input"], row["answer"]) for row in rows])
        read = [
            (reply == "yes", row["unit"]) for reply, row in zip(said, rows, strict=True) if reply in YES_NO
        ]
        unread += len(rows) - len(read)
        if read:
            good, units = zip(*read, strict=True)
            sample = score_sample([float(each) for each in good], units)
            fixed = corrected_share(sample, people, own) if checked else None
            shares.append(JudgedShare(name, estimate_sample(sample), fixed))
    agreement = kappa(people, own) if checked else None
    pair = _compared(climb, judge, names, *lines.values()) if len(lines) == 2 else None
    return JudgeResult(judge.endpoint.title, len(known), agreement, tuple(shares), pair, unread)


def _compared(
    climb: LadderRun, judge: Judge, names: Sequence[str], untuned: Sequence[Json], tuned: Sequence[Json]
) -> JudgedPair:
    """How often the judge prefers the tuned answer in both orders, the untuned one in both, or neither."""
    rows = list(zip(untuned, tuned, strict=True))
    one = _asked(climb, [_pair(judge, a["input"], a["answer"], b["answer"]) for a, b in rows])
    other = _asked(climb, [_pair(judge, a["input"], b["answer"], a["answer"]) for a, b in rows])
    both = list(zip(one, other, strict=True))
    wins, losses = both.count(("b", "a")), both.count(("a", "b"))
    return JudgedPair(names[1], names[0], wins, losses, len(rows) - wins - losses)


def _labelled(judge: Judge) -> list[Judged]:
    return read_judged(judge.labels) if judge.labels else []


def _alone(judge: Judge, question: str, answer: str) -> Request:
    return _request(ALONE, judge, {"Question": question, "Answer": answer})


def _pair(judge: Judge, question: str, first: str, second: str) -> Request:
    return _request(PAIR, judge, {"Question": question, "Answer A": first, "Answer B": second})


def _request(role: str, judge: Judge, parts: dict[str, str]) -> Request:
    text = "\n\n".join(f"# {name}\n{part}" for name, part in {"Rubric": judge.rubric, **parts}.items())
    return Request((Message("system", role), Message("user", text)), ROOM)


def _asked(climb: LadderRun, requests: Sequence[Request]) -> list[str]:
    """The first word of each reply, in small letters."""
    judge = climb.task.judge
    assert judge is not None, "only a judge is asked"
    done = climb.models.get(ModelRef(judge.endpoint.name)).generate(requests) if requests else []
    words = (re.search(r"\w+", reply.text.casefold()) for reply in done)
    return [word[0] if word else "" for word in words]
