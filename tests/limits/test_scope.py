"""Scopes: few real questions are turned away, no model is asked for those that are, and no test row is seen."""

from __future__ import annotations

import functools
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz
from scipy.special import ndtr

from etude.assistant import Assistant, load
from etude.comparison.scope_check import add_scope
from etude.errors import InputError
from etude.evaluate import AnswerLog, answer_in_batches
from etude.limits.fit import fit_scope, read_generic_questions
from etude.limits.probe import read_probe
from etude.limits.question_model import OWN, QuestionModel, count_features
from etude.limits.scope import Scope
from etude.models.registry import Models
from etude.stats.calibration import choose_floor
from etude.suites.run import PACKS
from etude.task import load_task
from etude.task.definition import Limit
from etude.types import Example, Message, ModelRef
from small_task import write_task

ROOT = Path(__file__).parents[2]
LIMITS = (
    Limit("out_of_scope", "I only know tides."),
    Limit("to_person", "Please call the harbour master."),
    Limit("refused", "No.", ("Sink the boat of my rival.",)),
)
PLACES = ("Aberfoss", "Brinlow", "Corrie Bay", "Dunmouth", "Eastry", "Farholm")
FORMS = ("When is high water at {}?", "low tide {} tomorrow", "How deep is the channel off {} on Friday?")


def make_rows(num: int, seed: int) -> list[Example]:
    """Questions about tides, hardly any two alike."""
    rng = random.Random(seed)
    texts = [f"{rng.choice(FORMS).format(rng.choice(PLACES))} ({rng.randrange(10**4)})" for _ in range(num)]
    return [Example(text, (Message("user", text),), "At noon.") for text in texts]


@functools.cache
def fit_tides() -> tuple[Scope, tuple[str, ...]]:
    scope, notes = fit_scope(LIMITS, make_rows(200, 1), make_rows(100, 2), 0)
    assert scope is not None
    return scope, tuple(notes)


def ask(scope: Scope, *texts: str) -> list[str | None]:
    limits = scope.find_limits([(Message("user", text),) for text in texts])
    return [limit.name if limit else None for limit in limits]


def test_real_questions_pass_and_others_do_not() -> None:
    scope, notes = fit_tides()
    real = ask(scope, *(row.text for row in make_rows(400, 3)))
    assert sum(name is not None for name in real) <= 0.02 * len(real)
    probed = ask(scope, *read_probe())
    assert sum(name is not None for name in probed) >= 0.85 * len(probed)
    assert "are turned away" in notes[0]


def test_a_limit_speaks_by_its_kind_and_the_first_for_all_others() -> None:
    scope = fit_tides()[0]
    assert ask(scope, "Sink the boat of my rival.") == ["refused"]
    only = replace(scope, limits=(LIMITS[1],))
    assert set(ask(only, *(text for text, _ in read_generic_questions()[:50]))) <= {"to_person", None}


def test_a_short_follow_up_is_read_with_the_question_before_it() -> None:
    scope = fit_tides()[0]
    question = Message("user", "When is high water at Brinlow? (77)")
    chat = (question, Message("assistant", "At noon."), Message("user", "And the day after?"))
    assert ask(scope, "And the day after?") == ["out_of_scope"]
    assert scope.find_limits([chat]) == [None]
    unrelated = (
        question,
        Message("assistant", "At noon."),
        Message("user", "Write a poem about the washing of dishes in a hotel, please."),
    )
    assert scope.find_limits([unrelated]) != [None]


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=400), st.floats(0.005, 0.2))
def test_a_floor_is_one_of_enough_scores_and_its_share_falls_with_their_number(
    scores: list[float], max_share: float
) -> None:
    floor, share = choose_floor(scores, max_share)
    assert floor in scores or (share > max_share and floor < max(scores))
    assert sum(score < floor for score in scores) <= max_share * (len(scores) + 1)
    assert choose_floor(scores * 2, max_share)[1] <= max(share, max_share)


def test_a_floor_keeps_its_promise_in_95_of_100_draws() -> None:
    """Of 400 floors from 500 scores each, at most 5% (8% by chance) have more than 1% of further scores below."""
    rng = np.random.default_rng(5)
    floors = [choose_floor(rng.random(500), 0.01)[0] for _ in range(400)]
    assert np.mean(np.array(floors) > 0.01) <= 0.08


@pytest.mark.parametrize("num", [30, 60, 240])
def test_too_few_normal_scores_keep_the_promise_on_average(num: int) -> None:
    rng = np.random.default_rng(num)
    floors = [choose_floor(rng.normal(size=num), 0.01)[0] for _ in range(400)]
    assert ndtr(floors).mean() <= 0.012


@pytest.mark.real
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_random_own_questions_are_told_from_generic_ones(seed: int) -> None:
    """Words of no language, 30 to a task: new questions of the same words pass, generic ones do not."""
    rng = random.Random(seed)
    words = ["".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3)) for _ in range(30)]

    def draw(num: int) -> list[Example]:
        texts = [" ".join(rng.sample(words, 6)) for _ in range(num)]
        return [Example(text, (Message("user", text),), "") for text in texts]

    scope, _ = fit_scope(LIMITS, draw(100), draw(30), seed)
    assert scope is not None
    real = ask(scope, *(row.text for row in draw(200)))
    assert sum(name is not None for name in real) <= 10
    assert all(ask(scope, *read_probe()))


def test_a_model_of_bytes_scores_as_before_it_was_packed() -> None:
    texts = [row.text for row in make_rows(40, 4)] + [text for text, _ in read_generic_questions()]
    model = QuestionModel.fit(
        count_features(texts), [OWN] * 40 + ["refused"] * (len(texts) - 40), [1.0] * len(texts)
    )
    assert np.allclose(model.score(texts), QuestionModel.from_text(model.to_text()).score(texts))


def test_a_question_that_is_turned_away_asks_no_model(tmp_path: Path) -> None:
    """Neither at once nor in batches; votes agree; the assistant is the same after it was saved."""
    scope = fit_tides()[0]
    assistant = Assistant("prompt", "answer", ModelRef("fake"), scope=scope)
    assistant.save(tmp_path / "assistant")
    loaded = load(tmp_path / "assistant")
    assert loaded == assistant
    assert loaded.fingerprint != replace(assistant, scope=None).fingerprint
    questions = ["When is high water at Eastry?", "How do I knit a scarf for my aunt?"]
    for asked in (assistant, loaded):
        real, other = asked.answer(questions)
        assert (other.limit, other.text, other.handed_over) == ("out_of_scope", "I only know tides.", False)
        assert (other.prompt_tokens, other.answer_tokens) == (0, 0)
        assert real.limit == ""
        assert real.prompt_tokens > 0
    votes = replace(loaded, samples=3)
    (request, *copies) = votes.prepare([(Message("user", questions[1]),)], Models().get(ModelRef("fake")))
    assert copies == [replace(request, sampling=copy.sampling) for copy in copies]
    assert request.reply is not None
    assert votes.finish(["a"], [request.reply] * 3, [0] * 3, [()] * 3)[0].limit == "out_of_scope"
    log, models = AnswerLog(tmp_path / "answers.jsonl"), Models()
    chats = [(Message("user", text),) for text in questions]
    for _ in range(2):  # the second time from the log
        batches = answer_in_batches(
            assistant, models, ["a", "b"], lambda: assistant.build_requests(chats, models), log
        )
        answers = {position: answer for _, batch in batches for position, answer in batch.items()}
        assert [answers[index].limit for index in (0, 1)] == ["", "out_of_scope"]
    assert "".join(assistant.stream(questions[1])) == "I only know tides."


def test_the_scope_sees_no_test_row(tmp_path: Path) -> None:
    class SealedSplit:
        train, dev = SimpleNamespace(examples=make_rows(60, 1)), SimpleNamespace(examples=make_rows(20, 2))

        def __getattr__(self, name: str) -> None:
            raise AssertionError(f"the scope reads {name}")

    run = SimpleNamespace(
        info={"notes": []}, update=lambda **_: None, assistant_folder=lambda name: tmp_path / name
    )
    task = SimpleNamespace(limits=LIMITS, seed=0)
    ladder_run = SimpleNamespace(task=task, split=SealedSplit(), run=run, on_event=lambda event: None)
    fitted = {"prompt": Assistant("prompt", "answer", ModelRef("fake"))}
    scoped = add_scope(ladder_run, fitted)  # type: ignore[arg-type]
    assert scoped["prompt"].scope is not None
    assert load(tmp_path / "prompt") == scoped["prompt"]


def test_few_rows_have_no_scope() -> None:
    scope, notes = fit_scope(LIMITS, make_rows(10, 1), make_rows(5, 2), 0)
    assert scope is None
    assert "only 10 training rows" in notes[0]


def test_limits_are_read_and_their_errors_have_lines(tmp_path: Path) -> None:
    task_file = write_task(tmp_path, "answer")
    text = task_file.read_text(encoding="utf-8")
    before = load_task(task_file)
    task_file.write_text(
        f"{text}\nlimits:\n  refused: Never.\n  out_of_scope: {{say: No., examples: [Hello]}}\n",
        encoding="utf-8",
    )
    after = load_task(task_file)
    assert after.limits == (Limit("out_of_scope", "No.", ("Hello",)), Limit("refused", "Never."))
    assert [limit.act for limit in after.limits] == ["refuse", "refuse"]
    task_file.write_text(f"{text}\nlimits:\n  to_person: {{examples: [Hi]}}\n  never: x\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_task(task_file)
    assert len(error.value.issues) == 2
    assert all(issue.location.startswith("task.yaml:") for issue in error.value.issues)
    assert before.limits == ()


def test_packaged_questions_are_many_and_none_is_of_a_suite() -> None:
    """At least 400, none twice, none nearly a question of the starter pack, of the example's suite or of the probe."""
    packaged = [text for text, _ in read_generic_questions()]
    assert len(packaged) >= 400
    assert all(first != second for first, second in pairwise(sorted(map(str.casefold, packaged))))
    others = [*read_probe()]
    for file in (*PACKS.glob("*.yaml"), ROOT / "examples" / "luma" / "suite.yaml"):
        suites = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry in (entry for name, entries in suites.items() if name != "acts" for entry in entries):
            asked = entry.get("ask", [])
            others += [text for text in ([asked] if isinstance(asked, str) else asked) if "{row}" not in text]
    near = [
        (text, other)
        for text in packaged
        for other in others
        if len(other.split()) > 3 and fuzz.token_sort_ratio(text.casefold(), other.casefold()) >= 75
    ]
    assert not near
