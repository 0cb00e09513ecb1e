"""retrieval and fine_tune_retrieval, from the documents of a task to cited answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from etude.assistant import load
from etude.comparison import compare
from etude.errors import InputError
from etude.index.passages import Passage
from etude.index.search import Search
from etude.methods.shared.fitted_search import _choose_search
from etude.models.registry import Models
from etude.runs import Run
from etude.types import Message
from small_task import THEMES, library, write_task

LOOKED_UP = ("retrieval", "fine_tune_retrieval")
METHODS = f"methods: [baseline, few_shot, {', '.join(LOOKED_UP)}]\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("task")
    task = write_task(folder, more=library(folder) + METHODS)
    return task, compare(task).run


@pytest.mark.parametrize("method", LOOKED_UP)
def test_every_answer_names_the_passage_that_was_in_its_prompt(
    finished: tuple[Path, Run], method: str
) -> None:
    _, run = finished
    lines = run.read_predictions(method)
    assert all(line["citations"] for line in lines)
    assistant = load(run.assistant_folder(method))
    for line in lines[:5]:
        answer = assistant.answer(line["input"])
        assert list(answer.citations) == line["citations"]
        assert answer.text == line["answer"], (
            "a saved assistant looks things up as the measured one did"
        )
    assert not any("citations" in line for line in run.read_predictions("few_shot"))
    prompt = json.loads((run.method_folder(method) / "method.json").read_text())["prompt"]
    assert prompt.count("well liked.") >= 1, "the report shows the prompt as the model read it"


def test_what_is_tuned_without_passages_is_asked_without(tmp_path: Path) -> None:
    task = write_task(
        tmp_path, more=library(tmp_path) + "methods: [prompt, retrieval, fine_tune]\n"
    )
    run = compare(task).run
    assert load(run.assistant_folder("retrieval")).search is not None
    assert load(run.assistant_folder("fine_tune")).search is None


def test_training_shows_the_passage_that_an_answer_was_written_from(
    finished: tuple[Path, Run],
) -> None:
    _, run = finished
    learned = run.method_folder("fine_tune_retrieval") / "assistant" / "adapter"
    text = "".join(file.read_text(encoding="utf-8") for file in learned.iterdir())
    assert text.count("well liked.") >= run.info["split"]["train"], (
        "the rows are learned with a passage each"
    )


def test_the_report_names_passages_and_the_search(finished: tuple[Path, Run]) -> None:
    _, run = finished
    text = (run.folder / "report.md").read_text(encoding="utf-8")
    assert "share of right first hits" in text
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    cited = {
        name
        for line in run.read_predictions("retrieval")
        if line["side"] == "dev"
        for name in line["citations"]
    }
    assert cited
    assert all(f'"{name}"' in page for name in cited)
    notes = json.loads((run.method_folder("retrieval") / "method.json").read_text())["notes"]
    assert any("8 passages" in note for note in notes)
    record = json.loads((run.method_folder("fine_tune_retrieval") / "method.json").read_text())
    assert "search" not in record["params"], "the search is fitted once a run"


def test_a_killed_comparison_goes_on_to_the_same_answers(
    finished: tuple[Path, Run], tmp_path: Path
) -> None:
    task = write_task(tmp_path, more=library(tmp_path) + METHODS)
    seen = []

    def stop(event: object) -> None:
        seen.append(event)
        if sum("retrieval" in repr(each)[:60] for each in seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(task, on_event=stop)
    again = compare(task).run
    for method in LOOKED_UP:
        kept = [
            [line[key] for key in ("id", "answer", "citations")]
            for line in again.read_predictions(method)
        ]
        whole = [
            [line[key] for key in ("id", "answer", "citations")]
            for line in finished[1].read_predictions(method)
        ]
        assert kept == whole


def test_rows_of_a_group_count_once_in_the_figures_of_a_search() -> None:
    passages = [Passage(f"All about {theme}", theme) for theme in THEMES]
    pairs = [(f"{number}: about {THEMES[number % 8]}", number % 8) for number in range(24)]
    units = [THEMES[position] for _, position in pairs]
    _, (trial,) = _choose_search({"keywords": Search(passages)}, pairs, units, 0.02)
    assert trial["mrr"]["n"] == trial["recall"]["n"] == len(THEMES)


def test_changed_documents_are_another_run(tmp_path: Path) -> None:
    more = library(tmp_path) + "methods: [retrieval]\n"
    task = write_task(tmp_path, more=more, num=150)
    first = compare(task).run
    assert compare(task).run == first
    (tmp_path / "shelf" / "9.md").write_text("# A new book\n\nOn nothing at all.", encoding="utf-8")
    assert compare(task).run != first


def test_a_method_without_its_documents_is_an_error_and_all_leaves_it_out(tmp_path: Path) -> None:
    task = write_task(tmp_path / "named", more="methods: [baseline, retrieval]\n", num=150)
    with pytest.raises(InputError, match="it needs documents"):
        compare(task)
    run = compare(write_task(tmp_path / "all", num=150)).run
    assert not {*LOOKED_UP} & {*run.fitted_methods}


def test_a_question_without_its_subject_gets_the_passage_of_the_question_before_it(
    finished: tuple[Path, Run],
) -> None:
    assistant = load(finished[1].assistant_folder("retrieval"))
    models = Models()
    talk = [("user", "about trains"), ("assistant", "Yes."), ("user", "and for my brother?")]
    turns = [{"role": role, "content": content} for role, content in talk]
    first, last, alone = assistant.answer(["about trains", turns, "and for my brother?"], models)
    assert last.citations == first.citations != alone.citations


def test_passages_that_do_not_fit_the_context_are_left_out(finished: tuple[Path, Run]) -> None:
    _, run = finished
    assistant = load(run.assistant_folder("retrieval"))
    models = Models()
    model = models.get(assistant.model)
    search = assistant.load_searches(models)
    many = replace(assistant, num_passages=3, shots=())
    question = (Message("user", "about dragons"),)
    (request,) = many.prepare([question], model, search)
    assert len(request.citations) == 3
    (bare,) = replace(many, max_tokens=model.context - model.count_tokens(question) - 40).prepare(
        [question], model, search
    )
    assert len(bare.citations) < 3
