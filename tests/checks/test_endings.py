"""Answers that stop before their end: cuts are named in any language, whole answers are left
alone.
"""

import random
import time
from itertools import product
from pathlib import Path
from string import ascii_lowercase

import pytest

from cases import read_cases
from etude.checks import Material, check_material
from etude.checks.rows.endings import check_truncated, is_complete
from etude.checks.rows.quotations import is_unclosed
from etude.data.dataset import Dataset
from etude.task import RowSource, Task
from etude.types import Example, Finding, Message
from pairs import find_rows

CASES = read_cases(__file__)
FRAMES = {
    "English": (
        "The {} of the pump must be cleaned with a soft cloth before you put it back into the {}.",
        " ",
    ),
    "German": (
        "Bitte reinigen Sie den {} Ihrer Maschine mit einem weichen Tuch und trocknen Sie ihn im "
        "{}.",
        " ",
    ),
    "Japanese": ("{}の天気は晴れで、気温は高く、風は{}に吹きます。", ""),
}
NOUNS = ("filter", "basket", "tank", "motor", "kessel", "deckel", "griff", "sensor")


def create_answers(frame: str, num: int = 160) -> list[str]:
    draw = random.Random(4)
    return [frame.format(*draw.sample(NOUNS, 2)) for _ in range(num)]


def find_truncated(outputs: list[str]) -> list[Finding]:
    """The findings in these answers; `where` holds their positions."""
    rows = tuple(
        Example(str(n), (Message("user", f"Question {n}?"),), text, location=f"rows.jsonl:{n}")
        for n, text in enumerate(outputs)
    )
    task = Task("t", "answer", "fake", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"))
    return list(check_material(Material(task, Dataset(rows)), (check_truncated,)))


@pytest.mark.parametrize("language", FRAMES)
@pytest.mark.parametrize("more", ["", " 😊"])
def test_answers_cut_in_the_middle_are_named_in_any_language(language: str, more: str) -> None:
    frame, _ = FRAMES[language]
    whole = [
        text + more * (position % 3 == 0) for position, text in enumerate(create_answers(frame))
    ]
    draw = random.Random(5)
    cut = [
        text[: draw.randint(int(0.6 * len(text)), len(text) - 8)].rstrip()
        for text in create_answers(frame, 12)
    ]
    assert find_rows(find_truncated(whole + cut)) >= set(range(len(whole), len(whole) + 10))
    assert not find_rows(find_truncated(whole + cut)) & set(range(len(whole)))


def test_many_last_words_cost_time_in_proportion() -> None:
    whole = "We saw the lake, " + "and the other one of the two " * 30 + "in the end."
    ends = product(ascii_lowercase[:20], repeat=2)
    opened = [f"We saw that nobody but them had been near the pump{a}{b}" for a, b in ends]
    began = time.process_time()
    assert find_rows(find_truncated([whole] * 1600 + opened)) == set()
    assert time.process_time() - began < 5, (
        "last words times the words of all answers take half a minute"
    )


def test_words_of_english_that_end_sentences_elsewhere_are_no_cut() -> None:
    whole = "Das Update fängt kurz nach Mitternacht auf Ihrem Gerät von allein an"
    german = [*create_answers(FRAMES["German"][0]), whole]
    assert not find_truncated(german)
    cut = "The update of the pump will then begin by itself with an"
    english = [*create_answers(FRAMES["English"][0]), cut]
    english.append("To put the pump back into its place you have to do the following:")
    assert find_rows(find_truncated(english)) == {160, 161}


def test_what_only_lacks_its_mark_is_no_cut() -> None:
    assert not find_truncated(
        [*create_answers(FRAMES["English"][0]), "It can be found in the drawer under the old oven"]
    )


@pytest.mark.parametrize("text", CASES["ended"])
def test_marks_of_other_scripts_and_emoji_end_a_text(text: str) -> None:
    assert is_complete(text)


@pytest.mark.parametrize("text", ["and the", "気温は", "one, two,", "Do the following:"])
def test_a_word_or_a_comma_ends_none(text: str) -> None:
    assert not is_complete(text)


@pytest.mark.parametrize(("text", "unclosed"), CASES["fences"])
def test_a_fence_is_closed_by_one_of_its_own_marks(text: str, unclosed: bool | None) -> None:
    assert is_unclosed(text) is unclosed


def test_code_that_is_never_closed_is_cut_where_others_close_theirs() -> None:
    closed = [f"```python\nprint({position})\n```" for position in range(60)]
    cut = [
        "```python\nprint(100",
        "Like this:\n\n```python\nfor one in range(9):\n    print(one) # the number of",
    ]
    assert find_rows(find_truncated([*closed, *cut])) == {60, 61}
    assert len(find_truncated([*closed, *cut])) == 1
    assert not find_truncated([*closed, *[f"```\nprint({place}" for place in range(20)]])
    assert not find_truncated([*create_answers(FRAMES["English"][0]), *cut[:1]])
