"""Graders: the template and formula languages, similarity against definitions, and what each type
of grader gives.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz

from etude.errors import InputError, ModelError
from etude_openai.graders.grade import Grade, Tools, grade, validate_grader
from etude_openai.graders.similarity import MEASURES, gleu, rouge_l
from etude_openai.graders.templates import check_formula, evaluate_formula, render_template

ITEM = {
    "answer": "Paris",
    "nested": {"list": [{"text": "deep"}], "json": '{"symbols": ["A", "B"]}'},
}
SAMPLE = {
    "output_text": "paris",
    "output_tools": [{"function": {"name": "f", "arguments": '{"x": 1}'}}],
}


def check(operation: str, reference: str = "{{item.answer}}") -> dict[str, str]:
    compared = {"input": "{{ sample.output_text }}", "reference": reference, "operation": operation}
    return {"type": "string_check", "name": "check", **compared}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{item.answer}} or {{ sample.output_text }}", "Paris or paris"),
        ("{{item.nested.list[0].text}}", "deep"),
        ("{{item.nested.json.symbols}}", '["A", "B"]'),
        ("{{sample.output_tools[0].function.arguments.x}}", "1"),
        ("{{sample.output_tools[0].function.name}}", "f"),
        ("no placeholder {item.answer}", "no placeholder {item.answer}"),
    ],
)
def test_a_template_resolves_paths(template: str, text: str) -> None:
    assert render_template(template, ITEM, SAMPLE) == text


@pytest.mark.parametrize(
    "path",
    [
        "item.missing",
        "item.answer.x",
        "item[0]",
        "os.environ",
        "item.__class__",
        "item.nested.list[9]",
    ],
)
def test_a_template_that_names_nothing_is_an_error(path: str) -> None:
    with pytest.raises(InputError, match="a path that does not exist"):
        render_template(f"{{{{{path}}}}}", ITEM, SAMPLE)


@given(st.text(), st.text())
def test_inserted_text_is_never_a_template_itself(answer: str, output: str) -> None:
    text = render_template(
        "{{item.answer}}|{{sample.output_text}}", {"answer": answer}, {"output_text": output}
    )
    assert text == f"{answer}|{output}"


@pytest.mark.parametrize(
    ("formula", "result"),
    [
        ("(a + b) / 2", 0.75),
        ("min(a, b) * 2 - -1", 2.0),
        ("2 ^ 3 ^ 1", 8.0),
        ("2 ** 2", 4.0),
        ("floor(1.7) + ceil(0.2) + abs(-1)", 3.0),
        ("sqrt(b) + log(exp(a))", 1 + math.sqrt(0.5) - 0.0),
    ],
)
def test_a_formula_is_arithmetic(formula: str, result: float) -> None:
    assert evaluate_formula(formula, {"a": 1.0, "b": 0.5}) == pytest.approx(result)


@pytest.mark.parametrize(
    "formula",
    [
        *(
            "__import__('os')",
            "a.real",
            "a if a else b",
            "[a]",
            "c",
            "a; b",
            "1/0",
            "9**9**9",
            "1e308*10",
        ),
        *(
            "(-1)**0.5",
            "min()",
            "min(a, key=b)",
            "True",
            "'a'*3",
            "(" * 400 + ")" * 400,
            "a" * 2_000,
        ),
    ],
)
def test_anything_else_in_a_formula_is_refused(formula: str) -> None:
    with pytest.raises(InputError, match="formula"):
        evaluate_formula(formula, {"a": 1.0, "b": 0.5})


@given(st.text(max_size=60))
def test_no_formula_ends_in_another_error(formula: str) -> None:
    with suppress(InputError):
        check_formula(formula, frozenset("ab"))


@pytest.mark.parametrize(
    ("operation", "passed"),
    [("eq", False), ("ne", True), ("neq", True), ("like", False), ("ilike", True)],
)
def test_string_checks(operation: str, passed: bool) -> None:
    assert grade(check(operation), ITEM, SAMPLE, Tools()) == Grade(float(passed), passed)


@given(st.text(min_size=1), st.text())
def test_similarity_is_between_0_and_1_and_1_for_equal_words(text: str, other: str) -> None:
    for name, measure in MEASURES.items():
        assert 0 <= measure(text, other) <= 1 + 1e-9, name
    if any(character.isalnum() for character in text):
        assert rouge_l(text, text) == gleu(text, text) == 1


ORDER = ("rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l", "gleu", "meteor")
PUBLISHED: dict[tuple[str, str], tuple[float, ...]] = {
    ("", ""): (0, 0, 0, 0, 0, 0, 0, 0),
    ("yes", ""): (0, 0, 0, 0, 0, 0, 0, 0),
    ("", "yes"): (0, 0, 0, 0, 0, 0, 0, 0),
    ("yes", "no"): (0, 0, 0, 0, 0, 0, 0, 0),
    ("yes", "yes"): (1, 0, 0, 0, 0, 1, 1, 0.5),
    ("yes", "yes sir"): (0.666667, 0, 0, 0, 0, 0.666667, 0.333333, 0.263158),
    ("a b", "b a"): (1, 0, 0, 0, 0, 0.5, 0.666667, 0.5),
    ("no no no", "no"): (0.5, 0, 0, 0, 0, 0.5, 0.166667, 0.416667),
    ("a b c d", "a b c d e f"): (0.8, 0.75, 0.666667, 0.5, 0, 0.8, 0.555556, 0.684267),
    ("a b c d e", "a b c d e"): (1, 1, 1, 1, 1, 1, 1, 0.996),
}
"""Text and reference -> the values of rouge-score 0.1.2 and NLTK 3.10.4 (METEOR without stems and
synonyms).
"""


@pytest.mark.parametrize("pair", PUBLISHED)
def test_similarity_is_that_of_the_reference_libraries(pair: tuple[str, str]) -> None:
    assert [MEASURES[name](*pair) for name in ORDER] == pytest.approx(PUBLISHED[pair], abs=1e-6)
    assert MEASURES["bleu"](*pair) == pytest.approx(sentence_bleu(*pair) / 100)
    assert MEASURES["fuzzy_match"](*pair) == fuzz.WRatio(*pair) / 100


def sentence_bleu(text: str, reference: str) -> float:
    return float(sacrebleu.sentence_bleu(text, [reference], use_effective_order=True).score)


def test_a_threshold_decides_what_passes() -> None:
    compared = {"input": "{{sample.output_text}}", "reference": "paris in spring"}
    measure = {"evaluation_metric": "rouge_1", "pass_threshold": 0.5}
    grader = {"type": "text_similarity", "name": "like", **compared, **measure}
    assert grade(grader, ITEM, SAMPLE, Tools()).passed
    assert not grade({**grader, "pass_threshold": 0.6}, ITEM, SAMPLE, Tools()).passed


def asking(reply: str) -> Tools:
    return Tools(ask=lambda *_: reply, models=frozenset({"judge"}))


ASKED = [{"role": "user", "content": "{{item.answer}}"}]
SCORER = {"type": "score_model", "name": "s", "model": "judge", "input": ASKED}
LABELLER = SCORER | {"type": "label_model", "labels": ["good", "bad"], "passing_labels": ["good"]}


@pytest.mark.parametrize(
    ("reply", "score", "errors"),
    [
        ('{"result": 0.25}', 0.25, ()),
        ('{"result": 7}', 1.0, ()),
        ('{"result": "x"}', 0.0, ("model_grader_parse_error",)),
        ('{"result": NaN}', 0.0, ("model_grader_parse_error",)),
        ("good", 0.0, ("model_grader_parse_error",)),
    ],
)
def test_a_model_that_scores(reply: str, score: float, errors: tuple[str, ...]) -> None:
    result = grade(SCORER, ITEM, SAMPLE, asking(reply))
    assert (result.score, result.errors) == (score, errors)


@pytest.mark.parametrize(
    ("reply", "passed"), [('{"label": "good"}', True), ("bad", False), ("good", True), ("?", False)]
)
def test_a_model_that_labels(reply: str, passed: bool) -> None:
    assert grade(LABELLER, ITEM, SAMPLE, asking(reply)).passed is passed


def test_a_grading_model_that_cannot_be_asked_is_a_flag_and_no_exception() -> None:
    def fail(*_: object) -> str:
        raise ModelError("The endpoint is gone.")

    result = grade(SCORER, ITEM, SAMPLE, Tools(ask=fail, models=frozenset({"judge"})))
    assert (result.score, result.errors) == (0.0, ("model_grader_server_error",))
    assert result.detail == "The endpoint is gone."


def test_a_multi_grader_calculates() -> None:
    grader = {
        "type": "multi",
        "name": "all",
        "graders": {"exact": check("eq"), "loose": check("ilike")},
        "calculate_output": "0.25 * exact + 0.75 * loose",
        "pass_threshold": 0.7,
    }
    validate_grader(grader, Tools())
    assert grade(grader, ITEM, SAMPLE, Tools()) == Grade(0.75, True, {"exact": 0.0, "loose": 1.0})


@pytest.mark.parametrize(
    ("grader", "words"),
    [
        (None, "must be an object"),
        ({"type": "python", "name": "p", "source": "..."}, "no code of clients"),
        ({"type": "regex", "name": "r"}, "string_check, text_similarity"),
        (check("is"), "operation"),
        ({**check("eq"), "input": 3}, "input"),
        ({**check("eq"), "pass_threshold": "0.5"}, "pass_threshold"),
        ({**SCORER, "range": [0, "1"]}, "range"),
        ({**SCORER, "input": ["text"]}, "input"),
        (SCORER, "--grader judge=URL#MODEL"),
        (
            {
                "type": "multi",
                "name": "m",
                "graders": {"a": check("eq")},
                "calculate_output": "a + b",
            },
            "named 'b'",
        ),
        (
            {
                "type": "text_similarity",
                "name": "t",
                "input": "",
                "reference": "",
                "evaluation_metric": "cosine",
            },
            "encoder",
        ),
    ],
)
def test_a_wrong_grader_says_what_to_do(grader: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        validate_grader(grader, Tools())
    assert words in str(caught.value)


def test_formulas_are_read_in_several_threads_at_once() -> None:
    """Python's own parser fails now and then when two threads parse nested expressions."""
    formula = "a" + "+a" * 400
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: evaluate_formula(formula, {"a": 1.0}), range(64)))
    assert results == [401.0] * 64


def test_all_errors_of_a_grader_are_listed_together() -> None:
    with pytest.raises(InputError) as caught:
        validate_grader({"type": "string_check", "input": 1, "operation": "eq"}, Tools())
    assert len(caught.value.issues) == 3
