"""A decision model as a step of the ladder: its questions and answers, and that over-confidence is
named.
"""

import json
import math
from pathlib import Path

import pytest
from openai.types import Decision, decision_create_params

from decision_server import DecisionServer, draw, serve_decisions
from etude.assistant import load
from etude.comparison import compare
from etude.data.dataset import Dataset
from etude.errors import Declined, InputError
from etude.methods import get_methods
from etude.models.endpoint.decision_model import build_completion, build_question, list_questions
from etude.models.registry import Models, find_service
from etude.runs.fingerprints import compute_fingerprints, list_changes
from etude.runs.recommended import load_endpoints
from etude.task import load_task
from etude.types import Completion, Message, ModelRef, Request
from small_task import THEMES, write_task

PRICES = "prices: {prompt: 2.0, answer: 4.0}"


def write_decision_task(
    folder: Path,
    url: str,
    more: str = "",
    num: int = 600,
    prices: str = PRICES,
    methods: str = "baseline, decide",
) -> Path:
    """A task whose labels are described and whose decision model is at a URL."""
    labels = "".join(f"    {theme}: books on {theme}\n" for theme in THEMES)
    return write_task(
        folder,
        "classify",
        num=num,
        more="contract:\n"
        "  labels:\n"
        f"{labels}decision_model: {{endpoint: {url}, model: luna, {prices}}}\n"
        f"methods: [{methods}]\n"
        f"{more}",
    )


@pytest.fixture(scope="module")
def overconfident(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DecisionServer]:
    """A finished comparison with the stand-in, which is right for three of four rows and says 97 to
    99%.
    """
    with serve_decisions(DecisionServer()) as server:
        task = write_decision_task(tmp_path_factory.mktemp("decide"), server.url, "handover: 0.1\n")
        run = compare(task, confirm=lambda question: True).run
    return run.folder, server


def test_the_questions_are_those_of_openais_client(
    overconfident: tuple[Path, DecisionServer],
) -> None:
    body = overconfident[1].bodies[0]
    assert (
        body.keys()
        == {"model", "input", "questions"}
        <= decision_create_params.DecisionCreateParams.__annotations__.keys()
    )
    (question,) = body["questions"]
    assert (
        question.keys() <= decision_create_params.QuestionQuestionParamChoice.__annotations__.keys()
    )
    assert question["type"] == "choice"
    assert question["instructions"].startswith("You are a librarian")
    assert {choice["value"]: choice["description"] for choice in question["choices"]} == {
        theme: f"books on {theme}" for theme in THEMES
    }
    Decision.model_validate(
        DecisionServer().answer(body), strict=True
    )  # the stand-in speaks the same shape


def test_overconfidence_is_named_and_recalibrated(
    overconfident: tuple[Path, DecisionServer],
) -> None:
    folder, _ = overconfident
    record = json.loads((folder / "methods/decide/method.json").read_text(encoding="utf-8"))
    assert any(
        "over-confident on dev" in note and "recalibrated" in note for note in record["notes"]
    )
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    calibration = verdict["details"]["decide"]["calibration"]
    before = calibration["before"]
    assert before["overconfidence"]["low"] > 0.1
    assert before["calibration_error"]["low"] > 0.1
    assert calibration["calibration_error"]["value"] < before["calibration_error"]["value"] / 2
    assert calibration["brier"]["value"] < before["brier"]["value"]
    for name in ("report.md", "report.html"):
        assert "Decision model is over-confident by" in (folder / name).read_text(encoding="utf-8")


def test_its_price_and_time_stand_in_the_table(overconfident: tuple[Path, DecisionServer]) -> None:
    verdict = json.loads((overconfident[0] / "verdict.json").read_text(encoding="utf-8"))
    cost = verdict["costs"]["decide"]
    assert (cost["prompt_tokens"], cost["cached_tokens"], cost["answer_tokens"]) == (60, 20, 1)
    assert cost["price"] == pytest.approx((60 * 2.0 + 4.0) / 1e6)
    assert cost["seconds"] > 0


def test_no_question_is_sent_twice(overconfident: tuple[Path, DecisionServer]) -> None:
    inputs = [json.dumps(body["input"]) for body in overconfident[1].bodies]
    assert len(inputs) == len(set(inputs)) > 100


def test_a_saved_assistant_asks_on_the_terms_of_its_task(
    overconfident: tuple[Path, DecisionServer],
) -> None:
    from etude.runs import Run

    run = Run(overconfident[0])
    assistant = load(run.assistant_folder("decide"))
    endpoints = load_endpoints(assistant, run)
    service = find_service(assistant.model.name, endpoints)
    assert service.prices is not None
    assert assistant.recalibration is not None
    assert assistant.contract.descriptions["dragons"] == "books on dragons"


def test_nothing_is_sent_without_consent(tmp_path: Path) -> None:
    with serve_decisions(DecisionServer()) as server:
        task = write_decision_task(tmp_path, server.url, num=150)
        with pytest.raises(Declined):
            compare(task, confirm=lambda question: "luna" not in question)
        assert not server.bodies


def test_a_refusal_is_an_answer_without_a_label(tmp_path: Path) -> None:
    with serve_decisions(DecisionServer(refuses=lambda text: draw(text, "refuse") < 0.2)) as server:
        task = write_decision_task(
            tmp_path, server.url, num=150, prices="at_once: 4", methods="decide"
        )
        run = compare(task).run
    lines = [line for line in run.read_predictions("decide") if line["answer"] == ""]
    assert lines
    assert all(line["confidence"] is None and line["score"] == 0 for line in lines)
    assert any("refused" in note for note in run.info["notes"])


def test_yes_and_no_become_a_statement() -> None:
    request = Request((Message("system", "Is it spam?"), Message("user", "hi")), 1, ("No", "Yes"))
    question = build_question(request)
    assert (question.kind, question.choices, question.instructions) == (
        "predicate",
        ["Yes", "No"],
        "Is it spam?",
    )
    with serve_decisions(DecisionServer(decide=lambda text, choices: "no")) as server:
        ref = ModelRef(f"decisions:{server.url}#luna")
        (completion,) = Models().get(ref, "choices").generate([request])
    assert completion.text == "No"
    assert math.exp(completion.logprob or -99) == pytest.approx(1 - (1 - server.sure("hi")))
    assert server.bodies[0]["questions"] == [
        {"type": "predicate", "name": "label", "instructions": "Is it spam?"}
    ]


def test_the_likeliest_label_is_the_answer_and_its_probability_the_confidence() -> None:
    request = Request((Message("user", "hi"),), 1, ("a", "b", "c"))

    def build(shares: dict[str, float]) -> Completion:
        return build_completion(request, list_questions(request), [shares], 0.1, (7, 2, 1))

    completion = build({"a": 0.2, "b": 0.5, "c": 0.3})
    assert (completion.text, completion.prompt_tokens, completion.cached_tokens) == ("b", 7, 2)
    assert math.exp(completion.logprob or 0) == pytest.approx(0.5)
    assert build({"a": 1.0000001, "b": 0.0}).logprob == 0
    assert build({}).logprob is None


def test_too_many_labels_and_other_kinds_are_not_asked(tmp_path: Path) -> None:
    task = load_task(write_decision_task(tmp_path / "few", "http://localhost:1/v1"))
    (method,) = get_methods(["decide"])
    assert method.missing_key(task) == ""
    assert method.find_obstacle(task, ()) == ""
    other = load_task(write_task(tmp_path / "text", "answer"))
    assert method.missing_key(other).startswith("kind: classify")
    with pytest.raises(InputError, match="decision_model must be a mapping"):
        load_task(write_task(tmp_path / "named", "classify", more="decision_model: big-bird\n"))


def test_a_decision_model_names_a_run(tmp_path: Path) -> None:
    decision_model = "decision_model: {endpoint: http://localhost:1/v1, model: luna}\n"
    tasks = [
        load_task(write_task(tmp_path / name, "classify", more=more))
        for name, more in (("without", ""), ("with", decision_model))
    ]
    prints = [compute_fingerprints(task, Dataset(()), None) for task in tasks]
    assert list_changes(*prints) == ["decision_model", "prices"]
