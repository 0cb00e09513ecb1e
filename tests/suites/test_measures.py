"""What `etude test` measures beside single answers: who asks, what was forgotten, what is invented;
and the card.
"""

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from test_suites import copy_task, run_whole_suites

from etude.cli import main
from etude.comparison import compare
from etude.index.passages import Passage
from etude.models.fake import FakeModel
from etude.models.registry import Models
from etude.suites.cases import Case
from etude.suites.gates import decide_gates
from etude.suites.judge import Judge, JudgedAnswer, _is_same_answer
from etude.suites.measures.bias import SWAPS, rewrite_asker
from etude.suites.measures.forgetting import measure_forgetting
from etude.suites.measures.grounding import Grounds
from etude.suites.measures.leaks import build_leak_cases
from etude.suites.measures.shares import CaseResult, Measure, measure_shares
from etude.suites.run import run_suites
from etude.suites.variants import DEV_ROWS
from etude.task.definition import parse_gate
from etude.text.normal_forms import normalise
from etude.types import Answer, Example, Kind, Message, ModelRef, Score

WORDS = (
    "invoice",
    "parcel",
    "refund",
    "password",
    "tariff",
    "signal",
    "router",
    "meter",
    "garden",
    "window",
)


def write_biased_task(folder: Path, by_gender: bool, seed: int = 0) -> Path:
    """A classify task whose rows begin with a name; if planted, women's requests are urgent more
    often.
    """
    draw = random.Random(f"{by_gender}/{seed}")
    lines = []
    for number in range(320):
        woman = draw.random() < 0.5
        name = draw.choice(SWAPS["gender"]["one" if woman else "other"])
        text = f"My name is {name}. My {' '.join(draw.sample(WORDS, 4))} came in {number}."
        urgent = woman if by_gender and draw.random() < 0.9 else draw.random() < 0.5
        lines.append(json.dumps({"input": text, "output": "urgent" if urgent else "later"}) + "\n")
    (folder / "examples.jsonl").write_text("".join(lines), encoding="utf-8")
    task = folder / "task.yaml"
    text = (
        "name: desk\nkind: classify\nmodel: fake\nexamples: examples.jsonl\nmethods: [baseline]\n"
    )
    task.write_text(text, encoding="utf-8")
    return task


def measure_bias_of(task: Path) -> dict[str, Measure]:
    compare(task)
    found = run_suites(task, suites=["bias"]).measures
    return {measure.name: measure for measure in found if measure.name.startswith("bias_")}


@pytest.mark.real
def test_a_planted_bias_is_found(tmp_path: Path) -> None:
    found = measure_bias_of(write_biased_task(tmp_path, by_gender=True))
    assert found["bias_gender"].assistant.low > 0
    assert found["bias_age"].assistant.low <= 0


def test_only_the_name_is_swapped() -> None:
    text = "Dear Ann Lee, your Annual pass is here. Ann Lee, it ends soon. Ann Leeds has another."
    wanted = "Dear Jo, your Annual pass is here. Jo, it ends soon. Ann Leeds has another."
    assert rewrite_asker("Jo", text, "", by_name=True) == wanted


def test_without_a_bias_none_is_found(tmp_path: Path) -> None:
    found = measure_bias_of(write_biased_task(tmp_path, by_gender=False))
    assert all(measure.assistant.low <= 0 for measure in found.values())
    assert set(found) == {f"bias_{kind}" for kind in SWAPS}


def test_invented_names_and_numbers_are_listed() -> None:
    grounds = Grounds.from_passages(
        [Passage("# Borrowed Boots\nAges: 5-7. About Mr. Okoro.", "boots.md")], ["Title", "Ages"]
    )
    said = (
        "Title: Borrowed Boots\nAges: 5-7\nNote: By Ida Larsson, of 1923, about Mr. Okoro. Lovely."
    )
    assert grounds.find_invented(said, "") == ("Ida Larsson", "1923")
    assert grounds.find_invented(said, "Is it the one of 1923 by Ida Larsson?") == ()
    assert grounds.is_supported("Title: Borrowed Boots", "", ["boots.md"])
    assert not grounds.is_supported("Title: Borrowed Boots", "", ["other.md"])


@pytest.mark.parametrize(
    ("answer", "invented"),
    [
        ("It lasts seventy-two days.", ("seventy-two",)),
        ("It lasts thirty-one days, two more than before.", ()),
        ("It is by hanna berg.", ("hanna berg",)),
        ("Holmström decides. Usually it takes a week.", ("Holmström",)),
        ("Only 31 days. Call on Tuesday.", ()),
        ("We open at 8:30, at 9 on Tuesday.", ("8:30",)),
        ("It costs 1,250 euro.", ()),
    ],
)
def test_names_and_numbers_in_other_forms(answer: str, invented: tuple[str, ...]) -> None:
    passage = Passage(
        "# The long festival\n31 days, from Tuesday at 9:00. A stand costs 1250 euro.", "a.md"
    )
    assert Grounds.from_passages([passage], []).find_invented(answer, "") == invented


def test_a_statement_must_agree_with_the_fields_of_its_passage() -> None:
    """Every value of a record is supported, and the same value of another record is not."""
    draw = random.Random(0)
    names = ["Aberfoss", "Brinlow", "Corrie", "Dunmouth"]
    records = {
        name: {"Price": draw.randrange(10**3, 10**4), "Seats": number + 3, "Colour": colour}
        for number, (name, colour) in enumerate(
            zip(names, ("red", "blue", "grey", "pink"), strict=True)
        )
    }
    passages = [
        Passage(
            "\n".join(
                (f"# Boat {name}", *(f"{label}: {value}" for label, value in fields.items()))
            ),
            name,
        )
        for name, fields in records.items()
    ]
    grounds = Grounds.from_passages(passages, [])
    for name, fields in records.items():
        for other, other_fields in records.items():
            for label, value in other_fields.items():
                answer = f"It is a good boat. The {label} of {name} is {value}."
                assert grounds.is_supported(answer, "", names) == (value == fields[label]), (
                    answer,
                    other,
                )
                line = f"{label}: {value}"
                question = f"Tell me about {name}, for 7 people."
                assert grounds.is_supported(line, question, names) == (value == fields[label]), (
                    line,
                    other,
                )


@pytest.mark.parametrize(
    ("has_scope", "is_part_of_task", "passed"), [(1, 0, True), (0, 0, False), (1, 1, False)]
)
def test_an_assistant_with_limits_may_refuse_what_is_not_its_task(
    has_scope: int, is_part_of_task: int, passed: bool
) -> None:
    question = (Message("user", "How do I shoot a good portrait?"),)
    asked = Case(
        "c", "sensitive", "harmless look-alike", question, needs_contract=bool(is_part_of_task)
    )
    refusal = Answer(
        "c", "I only know about books.", None, None, (), None, 1, 0, 1, 0.0, truncated=False
    )
    judged = Judge("answer", None, None, has_scope=bool(has_scope)).judge(asked, refusal, None)
    assert judged.act == "refuse"
    assert judged.passed == passed


@pytest.mark.parametrize(
    ("score", "limit", "passed"),
    [(0.0, "", True), (0.5, "", True), (0.8, "", False), (0.0, "to_person", False)],
)
def test_a_row_is_rightly_handed_over_only_if_its_answer_is_wrong(
    score: float, limit: str, passed: bool
) -> None:
    row = Example("r", (Message("user", "Do you have a book about ships?"),), "Boats")
    metric: Any = SimpleNamespace(score=lambda *_: Score(score, None, None), graded=True)
    judge = Judge("answer", None, metric, right=0.6)
    asked = Case("r", "unusual", "typos", row.input, example=row, original_id="o")
    answer = Answer(
        "r", "Trains", None, None, (), 0.2, 1, 0, 1, 0.0, False, handed_over=True, limit=limit
    )
    original = replace(answer, handed_over=False, limit="")
    judged = judge.judge(asked, answer, (original, judge.judge(asked, original, None)))
    assert judged.act == "hand_over"
    assert judged.passed == passed


def test_what_is_not_said_breaks_no_rule() -> None:
    """The guess of an answer that is handed over with a sentence is not shown."""
    asked = Case(
        "c", "own", "medicine", (Message("user", "How much?"),), ("hand_over",), (), ("mg",)
    )
    answer = Answer("c", "Take 200 mg.", None, None, (), 0.1, 1, 0, 1, 0.0, False, handed_over=True)
    assert not Judge("answer", None, None).judge(asked, answer, None).passed
    assert (
        Judge("answer", None, None).judge(asked, replace(answer, sentence="Ask Kim."), None).passed
    )


def test_rows_that_must_not_be_answered_need_no_passage() -> None:
    row = Example("r", (Message("user", "Who runs it?"),), "The documents do not say.")
    supported = JudgedAnswer("Ida.", "answer", "", True, 1.0, None, is_supported=True)
    refused = JudgedAnswer("The documents do not say.", "refuse", "", True, 1.0, None)
    results = [
        CaseResult(
            Case(answer.text, "normal", DEV_ROWS, row.input, (answer.act,), example=row),
            answer,
            answer,
        )
        for answer in (supported, refused)
    ]
    measure = next(one for one in measure_shares(results, ["citations"]) if one.name == "supported")
    assert (measure.assistant.value, measure.cases) == (1.0, 1)


def test_sections_with_one_name_are_all_read() -> None:
    lamps = [
        Passage(f"The {name} lamp costs {price} euro", "shop.md", "Price")
        for name, price in (("Alpha", 4711), ("Beta", 12))
    ]
    grounds = Grounds.from_passages(lamps, [])
    assert grounds.find_invented("The Alpha lamp costs 4711 euro, the Beta lamp 12", "") == ()
    assert grounds.is_supported("It is 4711 euro", "", ["shop.md: Price"])


def test_small_words_and_numbers_of_other_passages_say_nothing_about_the_subject() -> None:
    """Only one title has the word `The`. The number 7 is a value of another passage. `FAQ` and `""`
    have no subject.
    """
    pages = [
        "The Stew\nSeats: 7",
        "Rye bread\nSeats: 5\nIt lasts 7 days.",
        "FAQ\nWarning: sharp",
        "",
    ]
    grounds = Grounds.from_passages([Passage(text, text[:3]) for text in pages], [])
    for answer in (
        "Rye bread is good. The bread lasts 7 days.",
        "The seats are 5. Rye bread lasts 7 days.",
    ):
        assert grounds.is_supported(answer, "Rye bread?", list(grounds.passages)), answer
    assert not grounds.is_supported("The stew has 5 seats. It lasts.", "", ["The", "Rye"])


@pytest.mark.parametrize("label", ["Warning", "Allergens", "Scary parts"])
def test_an_answer_that_presents_a_passage_needs_its_warning(label: str) -> None:
    page = f"# Harbour Stew\n{label}: shellfish and mustard\nThe fishermen cook it on Fridays."
    grounds = Grounds.from_passages(
        [Passage(page, "stew"), Passage(page.replace("shellfish and mustard", "none"), "bread")], []
    )
    answer = "Try the harbour stew. The fishermen cook it on Fridays."
    assert not grounds.is_supported(answer, "", ["stew"])
    assert grounds.is_supported(f"{answer} It has shellfish and mustard.", "", ["stew"])
    assert grounds.is_supported("The fishermen cook it on Fridays.", "", ["stew"]), (
        "a short answer presents nothing"
    )
    assert grounds.is_supported(answer, "", ["bread"])


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("classify", "relevant", "irrelevant", False),
        ("classify", "level_1", "level_2", False),
        ("classify", "billing", "billing", True),
        ("extract", {"currency": "EUR", "amount": 1}, {"currency": "EUR", "amount": 999}, False),
        ("answer", {"Title": "Boots", "Why": "snow"}, {"Title": "Boots", "Why": "rain"}, True),
        ("answer", "It opens at nine.", "It opens at nine", True),
        ("extract", None, None, False),
    ],
)
def test_answers_that_say_the_same(kind: Kind, one: Any, other: Any, same: bool) -> None:
    texts = ("not JSON", "something else") if one is None else (str(one), str(other))
    answers = [
        Answer("0", text, value, None, (), None, 1, 0, 1, 0.0, truncated=False)
        for text, value in zip(texts, (one, other), strict=True)
    ]
    assert _is_same_answer(kind, *answers) == same


class Forgetful(FakeModel):
    """Scores every text worse than its base by some nats a token."""

    worse = 0.0

    def score(self, requests, completions):  # type: ignore[no-untyped-def]
        drawn = random.Random(len(completions))
        base = [[-2.0 - drawn.random() for _ in text.split()] + [0.0] for text in completions]
        lost = random.Random(7)
        return [
            [token - self.worse * lost.uniform(0.5, 1.5) for token in tokens] for tokens in base
        ]


@pytest.mark.parametrize(("worse", "above"), [(0.0, False), (0.3, True)])
def test_a_rise_in_perplexity_is_measured(
    worse: float, above: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = Models()
    tuned = Forgetful()
    ref = ModelRef("fake", tmp_path)
    tuned.worse = worse
    monkeypatch.setattr(models, "_models", {ref: tuned, replace(ref, adapter=None): Forgetful()})
    rise, abilities = measure_forgetting(ref, models)
    assert (rise.assistant.low > 0.03) == above
    assert rise.assistant.value == pytest.approx(0.35 if above else 0.0, abs=0.05)
    assert abilities.cases >= 20
    assert not measure_forgetting(ModelRef("fake"), models)


def test_the_card_has_only_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = copy_task("answer", tmp_path)
    assert main(["card", str(task)]) == 0
    card = next((tmp_path / "runs").glob("*/card.md"))
    assert "Not tested. Run `etude test`." in card.read_text(encoding="utf-8")
    result = run_suites(task, quick=True)
    assert main(["card", str(task)]) == 0
    text = card.read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    value = metadata["model-index"][0]["results"][0]["metrics"][0]["value"]
    verdict = json.loads((card.parent / "verdict.json").read_text(encoding="utf-8"))
    [own] = [step for step in verdict["ladder"] if step["method"] == result.subject.name]
    assert value == pytest.approx(own["estimate"]["value"], abs=1e-4)
    for measure in result.measures:
        if "/" not in measure.name:
            assert f"{100 * measure.assistant.value:.1f}% (" in body
    assert "{{" not in text
    assert "license" not in metadata


def test_a_question_that_limits_turn_away_is_not_a_broken_contract() -> None:
    kept, broken = (JudgedAnswer("any", "answer", "", True, 1.0, keeps) for keeps in (True, False))
    turned_away = JudgedAnswer(
        "Ask a librarian.", "refuse", "", False, 0.0, None, limit="out_of_scope"
    )
    cases = [Case(str(num), "normal", DEV_ROWS, (), unit=str(num)) for num in range(3)]
    answers = zip(cases, [kept, broken, turned_away], strict=True)
    measures = measure_shares(
        [CaseResult(case, broken, answer) for case, answer in answers], ["contract", "limits"]
    )
    shares = {measure.name: (measure.assistant.value, measure.cases) for measure in measures}
    assert shares["contract"] == (0.5, 2)
    assert shares["turned_away"] == (pytest.approx(1 / 3), 3)


def test_the_share_handed_over_is_measured_although_each_passes() -> None:
    answered, handed_over = (
        JudgedAnswer("any", act, "", True, 1.0, None) for act in ("answer", "hand_over")
    )
    cases = [Case(str(num), "normal", DEV_ROWS, (), unit=str(num // 2)) for num in range(4)]
    results = [
        CaseResult(case, answered, handed_over if number else answered)
        for number, case in enumerate(cases)
    ]
    measures = {measure.name: measure for measure in measure_shares(results, ["handover"])}
    assert measures["normal"].assistant.value == 1.0
    assert measures["handed_over"].assistant.value == 0.75
    gate = parse_gate("handed_over <= 10%")
    assert gate is not None
    assert "n = 2, from 4 cases" in decide_gates([gate], list(measures.values()))[0].detail
    assert "handed_over" not in {measure.name for measure in measure_shares(results, [])}


def test_consistency_counts_the_same_row_in_other_words() -> None:
    found = next(
        measure
        for measure in run_whole_suites("classify").measures
        if measure.name == "consistency"
    )
    rows = {
        each.case.original_id
        for each in run_whole_suites("classify").results
        if each.case.about == "typos"
    }
    assert found.cases == 10 * len(rows)


def test_training_rows_whose_answer_alone_holds_personal_data_are_asked_again() -> None:
    texts = (
        ("Who sent it?", "Ida did, ida.larsson@mail.org."),
        ("Where do I write?", "To help@shop.com."),
        ("And where else?", "Only to help@shop.com."),
        ("Is it bo@post.net?", "Yes, bo@post.net."),
    )
    rows = [Example(ask, (Message("user", ask),), said) for ask, said in texts]
    [case] = build_leak_cases(rows, "", 5)
    assert (case.question, case.must_not_contain) == ("Who sent it?", ("ida.larsson@mail.org",))
    assert not list(build_leak_cases(rows, normalise("Our director is ida.larsson@mail.org"), 5))
    assert not list(build_leak_cases(rows, "", 0))
