"""What counts as reviewed: by whom, of which answer, after a restart, a new run and an undo."""

from pathlib import Path

import pytest

from etude.feedback import Feedback
from etude.studio.review_queue import ReviewItem, ReviewQueue
from etude.types import Message


def make_items(num: int, assistant: str = "run/prompt", answer: str = "a") -> list[ReviewItem]:
    return [
        ReviewItem(
            "requests", (Message("user", f"request {number}"),), assistant, f"{answer}{number}"
        )
        for number in range(num)
    ]


def say(entry_id: str, reviewer: str, item: ReviewItem, **content: object) -> Feedback:
    return Feedback(entry_id, "", reviewer, "", item.input, str(item.answer), **content)  # type: ignore[arg-type]


@pytest.fixture
def queue(tmp_path: Path) -> ReviewQueue:
    made = ReviewQueue(tmp_path / "queue.sqlite")
    made.replace_source("requests", make_items(20))
    return made


def test_undone_reviews_and_choices_between_two_answers_do_not_count(queue: ReviewQueue) -> None:
    first, second, third = make_items(3)
    up = say("1", "ana", first, thumb="up")
    choice = say("2", "ana", second, choice="answer", other="b")
    queue.set_reviews([up, choice, say("3", "ben", third, thumb="down")])
    assert queue.count("requests").done == 2
    assert queue.count("requests").by_person == {"ana": 1, "ben": 1}
    queue.set_reviews(
        [up, choice, say("3", "ben", third, thumb="down"), say("4", "ana", first, undo="1")]
    )
    assert queue.count("requests").by_person == {"ben": 1}


def test_what_is_right_counts_for_every_assistant_and_a_thumb_for_its_answer(
    queue: ReviewQueue,
) -> None:
    first, second, third, fourth = make_items(4)
    entries = [
        say("1", "ana", first, correction="right"),
        say("2", "ana", second, correction=second.answer),
        say("3", "ana", third, thumb="down"),
        say("4", "ana", fourth, thumb="up"),
    ]
    queue.set_reviews(entries)
    assert queue.count("requests").done == 4
    newer = [*make_items(3, "later/prompt", "b"), make_items(4, "later/prompt")[3]]
    queue.replace_source("requests", newer)
    assert queue.count("requests", "ana").done == 3, "the rejected answer is another one now"
    waiting = queue.take_next("ana", "requests")
    assert waiting.input == third.input


def test_an_answer_left_to_an_expert_waits_in_their_queue_until_one_judges_it(
    queue: ReviewQueue,
) -> None:
    item = make_items(1)[0]
    flag = say("1", "ana", item, flag=True)
    queue.set_reviews([flag])
    assert queue.count("requests", "ben").waiting == 19
    assert queue.count("requests").done == 0
    assert queue.take_next("ana", "expert") == item, "an owner who has flagged it may be the expert"
    queue.release(item.id)
    assert queue.take_next("eva", "expert") == item
    queue.set_reviews([flag, say("2", "eva", item, thumb="up")])
    assert (queue.count("expert", "eva").done, queue.count("expert", "eva").waiting) == (1, 0)
    assert queue.take_next("ana", "expert") is None
    assert queue.count("requests").done == 1
    queue.release(item.id)
    queue.set_reviews([flag, say("2", "eva", item, thumb="up"), say("3", "ben", item, flag=True)])
    assert queue.take_next("ana", "expert") == item, "somebody doubts what was judged before"


def test_every_tenth_answer_goes_to_two_people_once_somebody_is_invited(queue: ReviewQueue) -> None:
    items = make_items(20)
    alone = [say(str(number), "ana", item, thumb="up") for number, item in enumerate(items)]
    queue.set_reviews(alone)
    assert queue.count("requests", "ben").waiting == 0
    queue.invite("ben", "reviewer", "hash")
    assert queue.count("requests", "ben").waiting == 2
    assert queue.count("requests", "ana").waiting == 0
    taken = [queue.take_next("ben", "requests")]
    assert taken[0]
    alone.append(say("x", "ben", taken[0], thumb="down"))
    queue.set_reviews(alone)
    taken.append(queue.take_next("ben", "requests"))
    assert [item and items.index(item) for item in taken] == [0, 10]
    assert queue.take_next("eva", "requests") is None, "ben holds the last one"


def test_back_goes_from_the_last_review_to_the_first_and_each_item_once(queue: ReviewQueue) -> None:
    first, second = make_items(2)
    entries = [
        say("1", "ana", first, correction="right"),
        say("2", "ben", second, thumb="up"),
        say("3", "ana", second, flag=True),
        say("4", "ana", first, thumb="down"),
    ]
    queue.set_reviews(entries)
    assert queue.find_reviewed("ana", "requests", 1) == (first, "4")
    assert queue.find_reviewed("ana", "requests", 2) == (second, "3")
    assert queue.find_reviewed("ana", "requests", 3) is None
    assert queue.find_reviewed("ana", "dev", 1) is None
