"""How far people agree about the answers that two of them have judged."""

import pytest

from etude.feedback import Feedback
from etude.feedback.agreement import measure_agreement
from etude.stats.agreement import kappa
from etude.types import Message


def say(number: int, reviewer: str, entry_id: str = "", **content: object) -> Feedback:
    turns = (Message("user", f"request {number}"),)
    return Feedback(entry_id or f"{reviewer}{number}", "", reviewer, "", turns, "a", **content)  # type: ignore[arg-type]


def test_kappa_is_that_of_the_two_peoples_last_judgements() -> None:
    judgements = [(True, True), (True, False), (False, False), (True, True)]
    entries = [say(0, "ana", "earlier", thumb="down")]
    for number, judged in enumerate(judgements):
        for reviewer, is_right in zip(("ana", "ben"), judged, strict=True):
            entries.append(
                say(number, reviewer, **({"correction": "a"} if is_right else {"thumb": "down"}))
            )
    assert measure_agreement(entries) == kappa(*zip(*judgements, strict=True))


@pytest.mark.parametrize(
    "other", [{"flag": True}, {"exclude": True}, {"choice": "answer", "other": "b"}]
)
def test_what_judges_no_answer_does_not_count(other: dict[str, object]) -> None:
    assert measure_agreement([say(0, "ana", thumb="up"), say(0, "ben", **other)]) is None
    undone = [say(0, "ana", thumb="up"), say(0, "ben", thumb="up"), say(0, "ben", "x", undo="ben0")]
    assert measure_agreement(undone) is None


def test_a_correction_calls_the_answer_wrong() -> None:
    corrected = [say(n, who, correction="better") for n in range(3) for who in ("ana", "ben")]
    rejected = [say(n, who, thumb="down") for n in range(3) for who in ("ana", "ben")]
    assert measure_agreement(corrected) == measure_agreement(rejected)
