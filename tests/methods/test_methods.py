"""The methods: what each tries, and what it must never do."""

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.assistant import Assistant
from etude.base.files import write_lines
from etude.data.dataset import Dataset, load_dataset
from etude.errors import InputError
from etude.methods import METHODS, check_methods, get_methods, unused_keys
from etude.methods.baseline import Baseline, cross_validate
from etude.methods.clear_prompt import ClearPrompt
from etude.methods.few_shot import MAX_SHOTS, FewShot, choose_shots, choose_sizes, group_by_shape
from etude.methods.fine_tune import FineTune
from etude.methods.prompt import Prompt
from etude.methods.shared.fit_context import (
    Candidate,
    Effort,
    FitContext,
    LookStopped,
    Race,
    initial_assistant,
    sample_rows,
)
from etude.methods.shared.instructions import choose_instructions, first_sentence
from etude.metrics import choose_metric
from etude.models.classical import Constant, Linear, Nearest, Predictor, load, save_classical
from etude.models.fake import FakeModel
from etude.models.registry import Models
from etude.render import merge_instructions
from etude.runs.fingerprints import compute_fingerprints, list_changes
from etude.task import METHOD_NAMES as NAMES
from etude.task import VERDICT_KEYS, RowSource, Task, load_task
from etude.task.keys import KEYS
from etude.types import CLASSICAL, Example, Message, Model, ModelRef
from small_task import rows, write_task
from tiny import save_tiny_model

MOVED = "+ answer skeleton, in the user's turn"


def context(task: Task, rows: Dataset, folder: Path, effort: Effort = Effort()) -> FitContext:  # noqa: B008
    return FitContext(Models(), choose_metric(task, rows), folder, effort)


def read_back(folder: Path) -> Predictor:
    return load(ModelRef(CLASSICAL, folder), Models()).predictor


def example(name: str, label: str) -> Example:
    return Example(id=name, input=(Message("user", f"text {name}"),), output=label)


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), min_size=1), st.integers(1, 30)
)
def test_shots_cover_every_label_before_any_comes_twice(counts: dict[str, int], size: int) -> None:
    forms = {
        label: [example(f"{label}{n}", label) for n in range(count)]
        for label, count in counts.items()
    }
    shots = choose_shots(forms, size, random.Random(0))
    used = [shot.output for shot in shots]
    assert len({shot.id for shot in shots}) == len(shots) <= size
    assert len(set(used)) == min(len(counts), size)


def test_an_untrained_model_is_no_result_of_a_training(tmp_path: Path) -> None:
    fit_context = context(load_task(write_task(tmp_path)), Dataset([example("a", "b")]), tmp_path)
    with pytest.raises(LookStopped):
        fit_context.record_training(0)
    assert fit_context.num_learned is None


def test_few_shot_tries_one_and_two_of_each_label(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, "classify")))
    start = initial_assistant(task, data, Models())
    assert choose_sizes(task, group_by_shape(start, data.examples)) == [8, 16]
    assert (
        max(choose_sizes(task, {str(n): [example(str(n), str(n))] * 5 for n in range(200)}))
        <= MAX_SHOTS
    )


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 4), min_size=2), st.integers(0, 3)
)
def test_examples_are_counted_as_they_stand_in_the_prompt_and_no_draw_comes_twice(
    counts: dict[str, int], seed: int
) -> None:
    rows = Dataset(
        tuple(
            example(f"{label}{n}", label) for label, count in counts.items() for n in range(count)
        )
    )
    task = Task("t", "classify", "fake", RowSource(Path("rows")), Path(), Path(), seed=seed)
    base = Assistant("few_shot", "classify", ModelRef("fake"))
    found = FewShot().build_candidates(task, rows, base)
    assert [int(each.name.split()[0]) for each in found] == [
        len(each.assistant.shots) for each in found
    ]
    shown = {tuple(shot.id for shot in each.assistant.shots) for each in found}
    assert len(shown) == len(found)


def test_two_rows_of_each_label_are_one_number_of_examples() -> None:
    rows = [example(f"{label}{n}", label) for label in "abcdefghij" for n in range(2)]
    task = Task("t", "classify", "fake", RowSource(Path("rows")), Path(), Path())
    assert choose_sizes(
        task, group_by_shape(Assistant("few_shot", "classify", ModelRef("fake")), rows)
    ) == [10]


def test_without_labels_a_classifier_answers_with_those_of_the_training_rows(
    tmp_path: Path,
) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, "classify")))
    start = initial_assistant(task, data, Models())
    assert start.choices == tuple(sorted({row.output for row in data}))
    answers = start.answer([row.input for row in data], Models())
    assert all(answer.keeps_contract and answer.confidence for answer in answers)


def test_a_prompt_longer_than_the_context_is_left_out_and_said(tmp_path: Path) -> None:
    file = write_task(tmp_path, "answer", model="fake:context=90", more="max_tokens: 10\n")
    task, data = load_dataset(load_task(file))
    bench = context(task, data, tmp_path / "work")
    fitted = FewShot().fit(
        task, data, sample_rows(data, 20, 0), initial_assistant(task, data, bench.models), bench
    )
    assert len(fitted.shots) < 8
    assert any("too long for the model's context" in note for note in bench.notes)


def test_a_wording_too_long_for_some_row_is_left_out_and_said(tmp_path: Path) -> None:
    more = f"max_tokens: 10\nwordings: [{' '.join(['Say'] * 90)}]\n"
    file = write_task(tmp_path, "answer", model="fake:context=90", more=more)
    task, data = load_dataset(load_task(file))
    bench = context(task, data, tmp_path / "work")
    ClearPrompt().fit(
        task, data, sample_rows(data, 20, 0), initial_assistant(task, data, bench.models), bench
    )
    assert "your wording 1" not in [tried.name for tried in bench.trials]
    assert any("your wording 1" in note for note in bench.notes)


def test_room_for_an_answer_is_counted_by_the_model_that_gives_it(tmp_path: Path) -> None:
    tiny = save_tiny_model(tmp_path / "tiny")
    file = write_task(tmp_path, model=str(tiny), more="prompt_model: fake\n")
    task, data = load_dataset(load_task(file))
    models = Models()
    start = initial_assistant(task, data, models)
    student = FineTune().build_untrained(task, start, data, models)
    model = models.get(student.model)
    longest = max(
        model.count_tokens([Message("user", row.output)])
        - model.count_tokens([Message("user", "")])
        for row in data
    )
    assert longest <= student.max_tokens
    assert start.max_tokens < student.max_tokens
    assert (
        FineTune()
        .build_untrained(replace(task, max_tokens=start.max_tokens), start, data, models)
        .max_tokens
        == start.max_tokens
    )


def test_clear_prompt_states_the_contract_and_keeps_the_users_wordings(tmp_path: Path) -> None:
    file = write_task(tmp_path, "answer", more='wordings: ["Name a book.", "Pick one."]\n')
    task, data = load_dataset(load_task(file))
    found = ClearPrompt().build_candidates(task, initial_assistant(task, data, Models()))
    texts = [candidate.assistant.instructions for candidate in found]
    assert texts[0] == "You are a librarian. Say what fits."
    assert texts[1:3] == ["Name a book.", "Pick one."]
    assert '"Title:"' in texts[3]
    assert "Title: " in texts[4]
    assert [candidate.assistant.instructions_role for candidate in found] == [
        *["system"] * 5,
        "user",
    ]
    assert texts[5] == texts[4]


def test_own_wordings_without_a_contract_stand_behind_the_one_as_given(tmp_path: Path) -> None:
    task = replace(
        load_task(write_task(tmp_path, "answer")), contract=None, wordings=("Pick one.",)
    )
    start = Assistant("prompt", "answer", ModelRef("fake"), instructions="Say what fits.")
    found = ClearPrompt().build_candidates(task, start)
    assert [each.name for each in found] == [
        "as given",
        "your wording 1",
        "as given, in the user's turn",
    ]


def test_wordings_that_a_model_reads_alike_are_measured_once_and_that_is_said(
    tmp_path: Path,
) -> None:
    """Without a system turn, rules in the user's turn are no other prompt; nor is an own wording
    given again.
    """

    class NoSystem(FakeModel):
        def render_text(self, messages: Sequence[Message]) -> str:
            first, *others = messages
            moved = (
                merge_instructions(first.content, others) if first.role == "system" else messages
            )
            return super().render_text(moved)

    class Plain(Models):
        def get(self, ref: ModelRef, *needs: str) -> Model:
            return NoSystem()

    task, data = load_dataset(load_task(write_task(tmp_path)))
    dev = data.select(range(20), "dev")
    for models, more in ((Models(), 1), (Plain(), 0)):
        bench = replace(context(task, data, tmp_path / f"work-{more}"), models=models)
        ClearPrompt().fit(task, data, dev, initial_assistant(task, data, models), bench)
        names = [tried.name for tried in bench.trials]
        assert names == [*["as given", "+ contract in words", "+ answer skeleton"], *[MOVED][:more]]
        assert [
            note for note in bench.notes if "their prompts equal" in note and MOVED in note
        ] == bench.notes
        assert len(bench.notes) == 1 - more


def test_what_a_lower_step_has_asked_is_not_asked_again(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path)))
    dev = data.select(range(20), "dev")
    start = initial_assistant(task, data, Models())
    below = context(task, data, tmp_path / "below")
    fitted = Prompt().fit(task, data, dev, start, below)
    benches = [context(task, data, tmp_path / name) for name in ("alone", "above")]
    benches[1].lower_folders = [below.folder]
    for bench in benches:
        ClearPrompt().fit(task, data, dev, fitted, bench)
    alone, above = (len(list((bench.folder / "answers").iterdir())) for bench in benches)
    assert above == alone - 1
    assert benches[1].scored_by_candidate["as given"] == below.scored_by_candidate["as given"]
    assert benches[1].seconds == pytest.approx(
        sum(
            row.answer.seconds
            for name, rows in benches[1].scored_by_candidate.items()
            if name != "as given"
            for row in rows
        )
    )


def test_a_short_look_tries_the_candidate_that_is_usually_best(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path)))
    start = initial_assistant(task, data, Models())
    candidates = [Candidate(str(n), start) for n in range(4)]
    first = context(task, data, tmp_path / "work", Effort(candidates=1, dev_rows=24))
    first.race = Race(task.margin)
    first.choose(candidates, data, first=2)
    assert [(tried.name, tried.dev.n) for tried in first.trials] == [("2", 24)]
    assert (first.num_candidates, first.is_cut) == (4, True)
    longer = context(task, data, tmp_path / "work")
    longer.race = Race(task.margin)
    seconds = iter([True, True, False])
    longer.has_time_for = lambda more: next(seconds, False)
    longer.choose(candidates, data, first=2)
    assert [(tried.name, tried.dev.n) for tried in longer.trials] == [
        ("0", 12),
        ("1", 12),
        ("2", 12),
    ]
    assert longer.is_cut


@pytest.mark.parametrize("reason", ["is_overdue", "is_stopped"])
def test_a_look_that_cannot_end_its_first_block_says_how_long_it_takes(
    reason: str, tmp_path: Path
) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path)))
    bench = context(task, data, tmp_path / "work", Effort(candidates=1, dev_rows=24))
    calls = iter([False] if reason == "is_stopped" else [])
    bench.race = Race(task.margin)
    setattr(bench, reason, lambda: next(calls, True))
    start = initial_assistant(task, data, bench.models)
    with pytest.raises(LookStopped) as stop:
        bench.choose([Candidate("only", replace(start, max_tokens=7))], data)
    assert (stop.value.needed_seconds is not None) == (reason == "is_overdue")


@pytest.mark.parametrize("kind", ["answer", "classify"])
def test_the_baseline_is_refitted_on_dev_but_reports_the_fit_on_train(
    kind: str, tmp_path: Path
) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, kind)))
    train = data.select(range(100), "train")
    dev = data.select(range(100, 150), "dev")
    bench = context(task, data, tmp_path / "work")
    fitted = Baseline().fit(task, train, dev, initial_assistant(task, train, bench.models), bench)
    assert len(bench.trials) == (3 if kind == "classify" else 2)
    answers = fitted.answer([row.input for row in dev], bench.models)
    if (
        bench.params["predictor"] == "nearest example"
    ):  # a refitted one knows every dev row by heart
        assert [answer.text for answer in answers] == [row.output for row in dev]
    assert [row.example.id for row in bench.chosen_scored] == [row.id for row in dev]
    assert [row.example.id for row in bench.held_out] == [row.id for row in (*train, *dev)]


@pytest.mark.parametrize("more", ["", "handover: 0.1\n", "costs: {handover: 0.5}\n"])
def test_without_a_probability_being_simple_does_not_count_where_answers_are_handed_over(
    more: str, tmp_path: Path
) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, "classify", more=more)))
    # easy for both
    rows = [
        replace(row, input=(Message("user", f"{row.output} {row.output} {row.output} {number}"),))
        for number, row in enumerate(data)
    ]
    data, bench = Dataset(tuple(rows)), context(task, data, tmp_path / "work")
    train = data.select(range(110), "train")
    dev = data.select(range(110, 150), "dev")
    candidate, *_ = Baseline().fit_on_train(
        task, train, dev, initial_assistant(task, data, None), bench
    )
    values = {trial.name: trial.dev.value for trial in bench.trials}
    assert values["nearest example"] == values["TF-IDF + linear SVM"] == 1
    assert (candidate.name == "nearest example") == (not more)
    assert bool(candidate.assistant.choices) == bool(more)


def test_of_extractors_f1_over_values_decides_in_cross_validation(tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = []
    for number in range(150):
        city = draw.choice(["Bern", "Genf", "Chur", "Thun"])
        tool = draw.choice(["saw", "axe", "hoe"])
        output = f'{{"city": "{city}", "tool": "{tool}", "number": "{number}"}}'
        rows.append(
            replace(
                example(str(number), output),
                input=(Message("user", f"{number}: a {tool} to {city}"),),
            )
        )
    task = Task("t", "extract", "fake", RowSource(Path("rows")), Path(), Path(), encoder="none")
    data = Dataset(tuple(rows))
    bench = context(task, data, tmp_path / "work")
    start = initial_assistant(task, data, None)
    candidate, *_ = Baseline().fit_on_train(
        task, data.select(range(110), "train"), data.select(range(110, 150), "dev"), start, bench
    )
    assert candidate.name == "known values in the text"
    (reason,) = [trial.reason for trial in bench.trials if trial.is_chosen]
    assert reason.startswith(
        "known values in the text is best in cross-validation on 150 rows of train and dev ("
    )


def test_cross_validation_answers_each_row_without_its_group(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, "classify")))
    rows = [replace(row, group=f"g{number // 3}") for number, row in enumerate(data)]
    learned: list[set[str]] = []

    def fit(texts: Sequence[str], outputs: Sequence[str]) -> Constant:
        learned.append(set(texts))
        return Constant.fit(outputs)

    bench = context(task, data, tmp_path / "work")
    candidates = [Candidate("spy", initial_assistant(task, data, bench.models))]
    held_out = cross_validate({"spy": fit}, rows, candidates, bench)["spy"]
    assert [row.example.id for row in held_out] == [row.id for row in rows] * 2
    assert len(learned) == 10
    for scored in held_out:
        group = {row.input[-1].content for row in rows if row.group == scored.example.group}
        assert not group & learned[scored.batch]


def predictors() -> list[Constant | Nearest | Linear]:
    texts = ["red apple", "green apple", "fast car", "slow car", "tall tree", "old tree"]
    labels = ["fruit", "fruit", "car", "car", "plant", "plant"]
    two = Linear.fit(texts[:4], labels[:4], 0)
    sharp = replace(Linear.fit(texts, labels, 0), temperature=0.5)
    return [Constant.fit(labels), Nearest(texts, labels), sharp, two]


def fit_twice(folder: Path, kind: str, method: Baseline | FineTune) -> Iterator[FitContext]:
    """The context of a fit, and of another with its answers, each of which took two seconds."""
    task, data = load_dataset(load_task(write_task(folder, kind)))
    train = data.select(range(100), "train")
    dev = data.select(range(100, 150), "dev")
    for _ in range(2):
        bench = context(task, data, folder / "work")
        method.fit(task, train, dev, initial_assistant(task, train, bench.models), bench)
        yield bench
        for log in (folder / "work" / "answers").iterdir():
            log.write_text(re.sub(r'"seconds": [^,]+', '"seconds": 2.0', log.read_text()))


def test_what_an_earlier_attempt_of_the_baseline_took_is_counted(tmp_path: Path) -> None:
    first, again = fit_twice(tmp_path, "classify", Baseline())
    assert 0 < first.seconds < 100
    assert 300 < again.seconds < 400


def test_the_answers_to_dev_do_not_count_as_training(tmp_path: Path) -> None:
    first, again = fit_twice(tmp_path, "answer", FineTune())
    assert (took := first.train_seconds) > 0
    assert (again.train_seconds, again.seconds) == pytest.approx((took, took + 100))


@pytest.mark.parametrize("number", range(4))
def test_a_saved_baseline_answers_the_same_and_the_file_is_stable(
    number: int, tmp_path: Path
) -> None:
    predictor = predictors()[number]
    asked = ["an apple", "my car", "trees", "", "日本"]
    one = save_classical(predictor, tmp_path / "one")
    two = save_classical(predictors()[number], tmp_path / "two")
    assert read_back(one).predict(asked) == predictor.predict(asked)
    assert {f.name: f.read_bytes() for f in one.iterdir()} == {
        f.name: f.read_bytes() for f in two.iterdir()
    }


@pytest.mark.parametrize("number", [2, 3])
def test_linear_confidences_are_probabilities(number: int) -> None:
    linear = predictors()[number]
    texts = ["apple car", "an old tree", "", "red red apple", "日本"]
    chances = np.exp(linear.answer(texts)[0])
    assert chances.shape == (5, len(linear.labels))
    assert ((chances >= 0) & (chances <= 1)).all()
    assert chances.sum(axis=1) == pytest.approx(1)
    answers, logs = zip(*linear.predict(texts), strict=True)
    assert np.exp(logs) == pytest.approx(chances.max(axis=1))
    assert list(answers) == [
        linear.labels[best] for best in linear.compute_margins(texts).argmax(axis=1)
    ]
    colder = np.exp(replace(linear, temperature=linear.temperature / 2).answer(texts)[0])
    assert (colder.max(axis=1) >= chances.max(axis=1)).all()


@pytest.mark.parametrize("kind", ["answer", "classify"])
def test_a_baseline_says_how_sure_it_is_where_it_gives_a_probability(
    kind: str, tmp_path: Path
) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path, kind)))
    train = data.select(range(100), "train")
    dev = data.select(range(100, 150), "dev")
    bench = context(task, data, tmp_path / "work")
    Baseline().fit(task, train, dev, initial_assistant(task, train, bench.models), bench)
    sure = {
        name: [row.answer.confidence for row in rows]
        for name, rows in bench.scored_by_candidate.items()
    }
    shares = {
        row.output: [each.output for each in train].count(row.output) / len(train) for row in train
    }
    assert sure.pop("nearest example") == [None] * len(dev)
    if kind == "answer":
        assert sure == {"most frequent answer": [None] * len(dev)}
        return
    assert sure["most frequent answer"] == pytest.approx([max(shares.values())] * len(dev))
    linear = read_back(bench.folder / "TF-IDF-+-linear-SVM")
    expected = [math.exp(log) for _, log in linear.predict([row.text for row in dev])]
    assert sure["TF-IDF + linear SVM"] == pytest.approx(expected)


def test_the_ladder_stands_in_order_whatever_the_order_of_the_names() -> None:
    assert [method.name for method in get_methods(("few_shot", "baseline"))] == [
        "baseline",
        "few_shot",
    ]
    assert [method.name for method in METHODS if method.tuned] == [
        "tag",
        "fine_tune_encoder",
        "fine_tune",
        "fine_tune_retrieval",
        "prefer",
    ]


def test_a_task_may_name_every_method_and_no_other() -> None:
    assert (
        tuple(method.name for method in METHODS)
        == NAMES
        == tuple(method.name for method in get_methods(NAMES))
    )


def test_every_key_of_the_task_file_is_of_a_method_of_all_methods_or_of_the_verdict() -> None:
    of_all = {
        *("name", "kind", "examples", "test", "contract", "several", "scale", "questions"),
        *("instructions", "max_tokens", "seed", "judge", "weights", "turns", "made_rows", "tools"),
    }
    of_one = {key for method in METHODS for key in method.keys}
    assert of_all | of_one | set(VERDICT_KEYS) == set(KEYS)


def test_what_a_training_does_not_depend_on_follows_from_the_methods(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path))
    others = {
        "methods",
        "margin",
        "target",
        *("metric", "check"),
        "usage",
        "prices",
        "where",
        "budget",
        "documents",
        "preferences",
        "encoder",
        "wordings",
        *("prompt_model", "reflect_with", "searched_prompt"),
        *(
            "suite",
            "gates",
            "handover",
            "costs",
            "decision_model",
            "evidence",
            "judge",
            "engine",
            "limits",
        ),
    }
    assert unused_keys(FineTune(), task) == others


def test_every_method_says_what_it_is_in_words_of_its_own() -> None:
    labels = {method.label for method in METHODS}
    assert len(labels) == len(METHODS)
    assert labels.isdisjoint(NAMES)


@pytest.mark.parametrize("names", [[], ["prompt", "prompt"], ["../up"], [""]])
def test_an_own_ladder_that_cannot_be_climbed_is_refused(names: list[str]) -> None:
    class Own(Prompt):
        def __init__(self, name: str) -> None:
            object.__setattr__(self, "name", name)

    with pytest.raises(InputError):
        check_methods([Own(name) for name in names])


def test_a_tuned_step_on_which_others_would_build_is_refused() -> None:
    class Own(FineTune):
        name = "own"
        prompted = True

    with pytest.raises(InputError, match=r"'own'.*`prompted = False`"):
        check_methods([*METHODS, Own()])
    Own.prompted = False
    assert check_methods([*METHODS, Own()])


@pytest.mark.parametrize(
    ("instructions", "first"),
    [
        ("You are Luma, a robot.\nAnswer in four lines. Be kind.", "You are Luma, a robot."),
        ("No stop", "No stop"),
        ("", ""),
        ("Is it a bug? Say yes or no.", "Is it a bug?"),
        ("Use e.g. JSON or YAML. Never prose.", "Use e.g. JSON or YAML."),
        ("Reply as Dr. Smith would. Be brief.", "Reply as Dr. Smith would."),
        ("Reply as J. R. Smith would. Be brief.", "Reply as J. R. Smith would."),
        (
            "You write for Acme Inc. and answer in German. Be kind.",
            "You write for Acme Inc. and answer in German.",
        ),
        ("Write about the U.S. only. Be kind.", "Write about the U.S. only."),
        ("Rules:\n1. Be brief.\n2. Be kind.", "Rules: 1. Be brief. 2. Be kind."),
        ("You are Luma.\n- Be brief.\n- Be kind.", "You are Luma."),
        ("Answer z.B. mit Ja. Danke.", "Answer z.B. mit Ja."),
    ],
)
def test_first_sentences_are_found(instructions: str, first: str) -> None:
    assert first_sentence(instructions) == first


SYSTEM = "You are a travel desk. Answer in German only. Never promise a refund."


@pytest.mark.parametrize("kind", ["answer", "classify"])
@pytest.mark.parametrize(
    ("chosen", "kept"),
    [("whole", SYSTEM), ("first_sentence", "You are a travel desk."), ("none", "")],
)
def test_the_user_chooses_what_of_the_instructions_a_tuned_model_keeps(
    tmp_path: Path, kind: str, chosen: str, kept: str
) -> None:
    file = write_task(tmp_path, kind, more=f"train: {{instructions: {chosen}}}\n")
    file.write_text(
        file.read_text().replace("You are a librarian. Say what fits.", SYSTEM), encoding="utf-8"
    )
    task, data = load_dataset(load_task(file))
    models = Models()
    assert (
        FineTune()
        .build_untrained(task, initial_assistant(task, data, models), data, models)
        .instructions
        == kept
    )
    assert choose_instructions(task).reason == "set by the user"
    plain = replace(task, train={})
    assert choose_instructions(plain).text == ("You are a travel desk." if kind == "answer" else "")


@pytest.mark.parametrize("kind", ["answer", "classify"])
def test_the_rows_own_system_message_is_learned_with_word_for_word(
    tmp_path: Path, kind: str
) -> None:
    made = [
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": row["input"]},
                {"role": "assistant", "content": row["output"]},
            ]
        }
        for row in rows(kind, 120)
    ]
    file = write_task(tmp_path, kind)
    write_lines(tmp_path / "examples.jsonl", made)
    bare = re.sub(r"instructions: .*\n", "", file.read_text(encoding="utf-8"))
    file.write_text(bare, encoding="utf-8")
    task, data = load_dataset(load_task(file))
    assert choose_instructions(task)[:2] == ("whole", SYSTEM)
    own = compute_fingerprints(task, data, None)
    file.write_text(f"{bare}train: {{instructions: none}}\n", encoding="utf-8")
    task, data = load_dataset(load_task(file))
    assert choose_instructions(task).text == ""
    assert list_changes(own, compute_fingerprints(task, data, None)) == ["train"]


def test_room_for_an_answer_comes_from_the_training_rows(tmp_path: Path) -> None:
    task, data = load_dataset(load_task(write_task(tmp_path)))
    start: Assistant = initial_assistant(task, data, Models())
    assert start.model == ModelRef("fake")
    assert start.max_tokens % 16 == 0
    assert start.max_tokens >= max(len(row.output.split()) for row in data)
