"""Grammars in the format of llguidance, which enforces them for every engine on this machine."""

import json
from functools import partial
from typing import Any

from llguidance import LLMatcher

from etude.errors import GrammarError
from etude.types import Grammar

# White space between two parts of JSON: a space, or a new line with indentation. Without this
# limit, some models generate only white space.
SPACE = r" |\n {0,16}"


def compile_grammar(grammar: Grammar) -> dict[str, Any]:
    """Convert a grammar to llguidance's format. Raises GrammarError with the construct that it
    cannot enforce.
    """
    kind = "regular expression"
    parse = LLMatcher.grammar_from_regex
    if grammar.kind == "json_schema":
        kind = "JSON schema"
        parse = partial(LLMatcher.grammar_from_json_schema, overrides={"whitespace_pattern": SPACE})
    try:
        compiled = parse(grammar.text)
    except ValueError as error:
        raise GrammarError(f"The {kind} cannot be read ({error}).") from error
    if reason := LLMatcher.validate_grammar(compiled).split():
        raise GrammarError(f"The {kind} cannot be enforced ({' '.join(reason)}).")
    return dict(json.loads(compiled))
