"""similar_shot: which examples a question gets."""

from dataclasses import replace
from pathlib import Path

from test_methods import context

from etude.assistant import load
from etude.data.dataset import load_dataset
from etude.methods.shared.fit_context import initial_assistant
from etude.methods.similar_shot import SimilarShot
from etude.models.registry import Models
from etude.task import load_task
from small_task import write_task


def test_each_question_gets_the_training_rows_that_share_most_words_with_it(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path)))
    train = data.select(range(100), "train")
    dev = data.select(range(100, 150), "dev")
    bench = context(task, data, tmp_path / "work")
    assistant = SimilarShot().fit(
        task, train, dev, initial_assistant(task, train, bench.models), bench
    )
    assert [tried.name for tried in bench.trials] == ["2 nearest", "4 nearest", "8 nearest"]
    models = Models()
    row = train[7]
    (request,) = replace(assistant, num_similar=3).build_requests([row.input], models)
    *shown, question = request.messages[1:]
    assert question == row.input[-1]
    assert [message.role for message in shown] == ["user", "assistant"] * 3
    assert (shown[-2], shown[-1].content) == (row.input[-1], row.output), (
        "the nearest row is the last example"
    )
    outputs = {each.input: each.output for each in train}
    assert all(
        outputs[(asked,)] == answer.content
        for asked, answer in zip(shown[::2], shown[1::2], strict=True)
    )
    # A saved assistant shows the same examples.
    assistant.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    asked = [row.input for row in dev]
    assert again.build_requests(asked, Models()) == assistant.build_requests(asked, bench.models)
    assert again.fingerprint == assistant.fingerprint


def test_examples_that_do_not_fit_are_left_out_the_farthest_first(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, model="fake:context=140")))
    task = replace(task, max_tokens=20)
    train = data.select(range(100), "train")
    dev = data.select(range(100, 120), "dev")
    bench = context(task, data, tmp_path / "work")
    assistant = SimilarShot().fit(
        task, train, dev, initial_assistant(task, train, bench.models), bench
    )
    whole = replace(assistant, num_similar=8).build_requests([dev[0].input], bench.models)[0]
    shown = (len(whole.messages) - 2) // 2
    assert 0 < shown < 8
    assert whole.shots_dropped == 8 - shown
    few = replace(assistant, num_similar=shown).build_requests([dev[0].input], bench.models)[0]
    assert few.messages == whole.messages
