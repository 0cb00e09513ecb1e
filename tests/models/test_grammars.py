"""A schema that cannot be enforced is refused, by the construct's name, whichever engine
answers.
"""

import json

import pytest

pytest.importorskip("llguidance")

from etude.errors import GrammarError
from etude.models.grammars import compile_grammar
from etude.types import Grammar


@pytest.mark.parametrize(
    ("schema", "construct"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"if": {"type": "object"}, "then": {"minProperties": 1}}, "if"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-ahead"),
        ({"$ref": "http://nowhere.example/schema.json"}, "nowhere.example"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "Unsatisfiable"),
        ({"type": "nonsense"}, "nonsense"),
    ],
)
def test_a_schema_is_refused_by_the_name_of_what_cannot_be_enforced(
    schema: object, construct: str
) -> None:
    with pytest.raises(GrammarError, match=construct):
        compile_grammar(Grammar("json_schema", json.dumps(schema)))


def test_a_regular_expression_is_refused_with_its_reason() -> None:
    with pytest.raises(GrammarError, match="regular expression cannot be"):
        compile_grammar(Grammar("regex", "(?=a)b"))


def test_llama_cpp_refuses_before_it_answers_without_the_schema() -> None:
    pytest.importorskip("xllamacpp")
    from etude.models.llama_cpp.model import format_grammar

    with pytest.raises(GrammarError, match="uniqueItems"):
        format_grammar(Grammar("json_schema", '{"uniqueItems": true}'))
    assert "%json" in format_grammar(Grammar("json_schema", '{"type": "object"}'))
