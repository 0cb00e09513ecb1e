"""The search for instructions, with stand-ins for strong models: a scripted model that proposes
instructions which are known to be good, bad or forbidden, and a model whose answers depend on them
in a known way.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_endpoint import kill_comparison

from endpoint_server import Body, ScriptedServer, serve_script
from etude.comparison import compare
from etude.data.dataset import Dataset, load_dataset
from etude.data.splits import split
from etude.errors import Declined, InputError, ServiceError
from etude.evaluate import build_sample, evaluate
from etude.methods.method import Assistant
from etude.methods.searched_prompt import METHOD, halve_dev
from etude.methods.searched_prompt.search import COPIED_WORDS, MAX_WORDS, PromptSearch
from etude.methods.shared.fit_context import Effort, FitContext, initial_assistant
from etude.metrics import choose_metric
from etude.models import registry
from etude.models.backend import BatchedModel
from etude.models.registry import Backend, Models
from etude.stats import compare_paired
from etude.task import load_task
from etude.task.contract import Contract
from etude.types import Completion, Example, Message, ModelRef, Request
from small_task import THEMES, write_task

CAREFUL = "Read the whole question."
CARELESS = "Answer quickly."
REFLECTS = "I provided an assistant"
KINDS = ("good", "bad", "copy", "plain")


def draw(text: str) -> float:
    """A number from 0 to 1 that follows from the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def answer(instructions: str, question: str, noise: bool = False) -> str:
    """The right theme for half of the questions; for more with careful instructions, for fewer with
    careless ones. With noise, other instructions are right for other questions, but not for more of
    them.
    """
    share = (
        0.5
        if noise
        else 0.8
        if CAREFUL in instructions
        else 0.3
        if CARELESS in instructions
        else 0.5
    )
    theme = next(theme for theme in THEMES if theme in question)
    is_right = draw(question + (instructions if noise else "")) < share
    return theme if is_right else THEMES[(THEMES.index(theme) + 1) % len(THEMES)]


def propose(prompt: str, kinds: Sequence[str] = KINDS) -> str:
    """A proposal of one of these kinds, as the prompt decides; no two prompts get the same."""
    quoted = re.search(r"## Inputs\n(.*)", prompt)
    texts = {
        "good": CAREFUL,
        "bad": CARELESS,
        "copy": quoted[1] if quoted else "",
        "plain": "Be kind.",
    }
    kind = kinds[int(draw(prompt) * len(kinds))]
    return f"Here it is:\n```\nSay what fits. {texts[kind]} ({draw(prompt)})\n```"


class Bench(BatchedModel):
    """A task of small rows, split by a seed, and the stand-in that answers and proposes, which
    counts its requests.
    """

    def __init__(
        self,
        folder: Path,
        calls: int = 200,
        kinds: Sequence[str] = KINDS,
        noise: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__("stand_in")
        self.kinds = kinds
        self.noise = noise
        self.asked = Counter[str]()
        more = f"prompt_model: stand_in\nsearched_prompt: {{calls: {calls}}}\nseed: {seed}\n"
        self.task, rows = load_dataset(
            load_task(write_task(folder, "classify", num=400, more=more))
        )
        self.split = split(rows, "classify", seed)
        self.models = Models()
        self.models._models[ModelRef("stand_in")] = self
        self.metric = choose_metric(self.task, self.split.train)
        self.start = initial_assistant(self.task, self.split.train, self.models)
        self.fitting = FitContext(self.models, self.metric, folder / "work", seed=seed)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        return [Completion(self._say(request), "stop", 1, 0, 1, 0.0, 0.0) for request in requests]

    def _say(self, request: Request) -> str:
        *system, question = [message.content for message in request.messages]
        self.asked["\n".join([*system, question])] += 1
        if question.startswith(REFLECTS):
            return propose(question, self.kinds)
        return answer(system[0], question, self.noise)

    def fit(self) -> Assistant:
        return METHOD.fit(self.task, self.split.train, self.split.dev, self.start, self.fitting)

    def measure_gain(self, assistant: Assistant) -> float:
        """The lower end of the interval of the gain on the test."""
        rows = self.split.test
        scored = [
            evaluate(each, self.models, rows, self.metric) for each in (assistant, self.start)
        ]
        after, before = (
            build_sample(self.metric, [row.outcome for row in rows]) for rows in scored
        )
        return compare_paired(after, before).difference.low


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend(
        "stand_in", "", lambda name: name == "stand_in", lambda *_: None, ("generate", "choices")
    )
    monkeypatch.setattr(registry, "BACKENDS", [backend, *registry.BACKENDS])


def test_the_search_finds_the_good_instructions_and_replays_from_its_folder(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    fitted = bench.fit()
    assert CAREFUL in fitted.instructions
    assert bench.measure_gain(fitted) > 0.1
    assert "refused, because it copies a training row" in bench.fitting.notes[0]
    choosing, steering = halve_dev(bench.split.dev, bench.fitting.seed)
    assert {*choosing, *steering} == {*range(len(bench.split.dev))}
    dev = [bench.split.dev[position] for position in sorted(choosing)]
    assert [row.example for row in bench.fitting.chosen_scored] == dev
    asked = Counter(bench.asked)
    before = bench.fitting
    bench.fitting = replace(before, trials=[], notes=[], params={})
    assert bench.fit() == fitted
    assert (bench.asked, bench.fitting.params) == (asked, before.params)


@pytest.mark.real
def test_fifty_budgets_are_never_exceeded_and_nearly_used(tmp_path: Path) -> None:
    randoms = random.Random(7)
    shares = []
    for number in range(50):
        calls = randoms.randint(30, 400)
        kinds = randoms.choices(KINDS, k=3)
        bench = Bench(tmp_path / str(number), calls, kinds, number % 2 == 0, number)
        bench.fit()
        search = bench.fitting.params["prompt_search"]
        num_chosen = len(bench.fitting.chosen_scored)
        num_searched = bench.asked.total() - num_chosen * len(bench.fitting.trials)
        assert num_searched <= search["calls"] <= calls
        if max(search["scores"]) < 1:  # else nothing could be better
            shares.append(search["calls"] / calls)
    assert sum(shares) / len(shares) >= 0.9


@pytest.mark.real
def test_a_placebo_gains_nothing(tmp_path: Path) -> None:
    gains = []
    for seed in range(20):
        bench = Bench(tmp_path / str(seed), kinds=["plain"], noise=True, seed=seed)
        gains.append(bench.measure_gain(bench.fit()) > 0)
    assert sum(gains) <= 1


ROW = "Please find 3 abc def ghi about trains, age 5"
FORM = "Sorry, we only have books about things we like"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Write Title and Ages, briefly.", ""),
        ("", "has no text"),
        ("Write Title only.", "drops a part of the contract"),
        (f"Title, Ages. {ROW}", "copies a training row"),
        (f"Title, Ages. {' '.join(ROW.split()[: COPIED_WORDS - 1])} anything", ""),
        (f"Title, Ages. {FORM}.", ""),  # several answers have it
        ("Title Ages " * MAX_WORDS, "over"),
        ("Title Ages " * 60, "too long for the model's context"),
    ],
)
def test_proposals_are_refused_by_rule(text: str, fault: str, tmp_path: Path) -> None:
    rows = Dataset(
        tuple(Example(asked, (Message("user", asked),), FORM) for asked in (ROW, "Something else"))
    )
    model = ModelRef("fake:context=100")
    contract = Contract(fields=("Title", "Ages?"))
    given = Assistant(
        "", "answer", model, "Write Title and Ages.", contract=contract, max_tokens=10
    )
    found = PromptSearch(Bench(tmp_path).fitting, given, model, rows, rows, 30).find_fault(text)
    assert fault in found
    assert bool(fault) is bool(found)


@pytest.mark.parametrize("more", ["", "prompt_model: smollm2-135m-instruct\n"])
def test_without_a_bigger_model_it_is_refused_or_left_out_with_a_sentence(
    more: str, tmp_path: Path
) -> None:
    sentence = "it needs reflect_with: with a bigger model"
    with pytest.raises(InputError, match=sentence):
        compare(
            write_task(tmp_path / "named", "classify", more=f"{more}methods: [searched_prompt]\n")
        )
    if not more:
        run = compare(write_task(tmp_path / "all", "classify")).run
        assert sum(sentence in note for note in run.info["notes"]) == 1


def test_a_short_look_answers_as_given(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.fitting.effort = Effort(1, 24)
    assert bench.fit().instructions == bench.start.instructions
    assert bench.fitting.is_cut
    assert not any(REFLECTS in text for text in bench.asked)


def test_an_error_of_the_reflecting_model_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(prompt: str, kinds: Sequence[str]) -> str:
        raise ServiceError("no money")

    monkeypatch.setattr("test_searched_prompt.propose", fail)
    with pytest.raises(ServiceError, match="no money"):
        Bench(tmp_path).fit()


def say(body: Body) -> str:
    *system, question = [message["content"] for message in body["messages"]]
    return (
        propose(question) if question.startswith(REFLECTS) else answer("\n".join(system), question)
    )


@pytest.mark.real
def test_a_killed_search_asks_nothing_twice_and_the_report_shows_it(tmp_path: Path) -> None:
    with serve_script(ScriptedServer(say=say, hold_after=0)) as script:
        more = (
            f"prompt_model: {{endpoint: {script.url}, model: big, prices: {{prompt: 1, answer: "
            "1}}\n"
        )
        more += "methods: [prompt, searched_prompt]\nsearched_prompt: {calls: 120}\n"
        task = write_task(tmp_path, "classify", num=300, more=more)
        questions = []
        with pytest.raises(Declined):
            compare(
                task, confirm=lambda question: not questions.append(question) and len(questions) < 2
            )
        assert not script.asked
        assert "write better instructions: at most 30 requests" in questions[1]
        for num_saved in (100, 150):
            kill_comparison(task, tmp_path, script, num_saved, 300)
        script.hold_after = None
        run = compare(task, confirm=lambda question: True).run
        assert set(script.answered.values()) == {1}
    search = json.loads((run.method_folder("searched_prompt") / "method.json").read_text())[
        "params"
    ]["prompt_search"]
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert all(f"<pre>{text}</pre>" in page for text in (search["given"], search["found"]))
    assert "dev rows that steered the search" in page
