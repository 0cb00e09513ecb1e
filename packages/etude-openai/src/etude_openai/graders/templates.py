"""The two small languages inside a grader: `{{ item.a.b }}` templates, and the formula of a multi
grader.

Both have their own parser, so nothing from a client is evaluated as Python.
"""

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any

from etude.base.files import parse_storable_json
from etude.errors import InputError, Issue, quote_value

PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
# A name, then .name or [number] steps: item.answers[0].text
PATH = re.compile(r"(item|sample)((?:\.[\w-]+|\[\d+\])*)")
STEP = re.compile(r"\.([\w-]+)|\[(\d+)\]")
MAX_FORMULA = 1_000
"""Largest number of characters in a formula. In a longer one, nesting could overflow Python's
stack.
"""
PARSER = Lock()
"""Python's parser counts the depth of all threads together (cpython issue 106905), so one thread
parses at a time.
"""
MAX_POWER = 64.0
"""Largest exponent. A larger one would overflow."""

BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.BitXor: operator.pow,  # OpenAI writes a power as ^
}
FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}


def complete_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Add the fields that graders read to a sample that is a chat completion: output_text,
    output_tools and output, and output_json if the text is JSON.
    """
    choices = sample.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    message = choice.get("message") if isinstance(choice, Mapping) else None
    message = message if isinstance(message, Mapping) else {}
    text = sample.get("output_text") or message.get("content") or ""
    complete = {
        **sample,
        "output_text": text,
        "output_tools": sample.get("output_tools") or message.get("tool_calls") or [],
        "output": sample.get("output") or [{"role": "assistant", "content": text}],
    }
    with suppress(ValueError):
        if isinstance(text, str) and "output_json" not in sample:
            complete["output_json"] = parse_storable_json(text)
    return complete


def read_content(content: Any) -> str:
    """Return the text of a turn: a string, an object with a text, or a list of these."""
    if isinstance(content, list):
        return "\n".join(map(read_content, content))
    if isinstance(content, Mapping):
        return str(content.get("text", ""))
    return str(content or "")


def render_template(template: str, item: Mapping[str, Any], sample: Mapping[str, Any]) -> str:
    """Replace every placeholder of `template` by the value at its path in `item` or `sample`.

    Texts are inserted unchanged, other values as JSON. A path may continue inside a text that is
    JSON. Raises InputError with all placeholders that cannot be resolved.
    """
    issues: list[Issue] = []

    def replace(match: re.Match[str]) -> str:
        try:
            value = _resolve(match[1], {"item": item, "sample": sample})
        except (LookupError, ValueError):
            remedy = (
                "use a path such as item.answer or sample.output_text that exists in every item"
            )
            issues.append(
                Issue("grader", "the template has a path that does not exist", match[0], remedy)
            )
            return ""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    text = PLACEHOLDER.sub(replace, template)
    if issues:
        raise InputError(issues)
    return text


def _resolve(path: str, roots: Mapping[str, Any]) -> Any:
    match = PATH.fullmatch(path)
    if match is None:
        raise ValueError(path)
    value = roots[match[1]]
    for name, index in STEP.findall(match[2]):
        if isinstance(value, str):
            value = parse_storable_json(value)  # function arguments arrive as a JSON string
        if isinstance(value, list | Mapping) is False:
            raise LookupError(path)
        value = value[int(index)] if index else value[name]
    return value


def check_formula(formula: str, names: frozenset[str]) -> None:
    """Raises InputError unless `formula` is arithmetic over `names`."""
    evaluate_formula(formula, dict.fromkeys(names, 1.0), check_only=True)


def evaluate_formula(
    formula: str, values: Mapping[str, float], *, check_only: bool = False
) -> float:
    """Compute a formula: + - * / ^, parentheses, and the functions of `FUNCTIONS` over named
    values.

    Raises InputError for anything else, and for a result that is not a finite number unless
    `check_only`.
    """
    try:
        if len(formula) > MAX_FORMULA:
            raise ValueError(f"longer than {MAX_FORMULA:,} characters")
        with PARSER:
            tree = ast.parse(formula.strip(), mode="eval").body
        _check_nodes(tree, values)
        if check_only:
            return 0.0
        result = float(_evaluate(tree, values))
        if not math.isfinite(result):
            raise ValueError("the result is not a finite number")
        return result
    except (
        SyntaxError,
        ValueError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        message = f"the formula cannot be evaluated: {error}"
        remedy = f"use + - * / ^, {', '.join(FUNCTIONS)} and the names {', '.join(sorted(values))}"
        raise InputError.of("calculate_output", message, quote_value(formula), remedy) from error


def _check_nodes(tree: ast.AST, values: Mapping[str, float]) -> None:
    match tree:
        case ast.Constant(value=bool()):
            raise ValueError("true and false are not numbers")
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name):
            if name not in values:
                raise ValueError(f"there is no grader named {name!r}")
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check_nodes(operand, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            _check_nodes(left, values)
            _check_nodes(right, values)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS and args:
            for arg in args:
                _check_nodes(arg, values)
        case _:
            raise ValueError(f"{ast.unparse(tree)} is not arithmetic")


def _evaluate(tree: ast.AST, values: Mapping[str, float]) -> float:
    match tree:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=op, operand=operand):
            number = _evaluate(operand, values)
            return -number if isinstance(op, ast.USub) else number
        case ast.BinOp(left=left, op=op, right=right):
            first = _evaluate(left, values)
            second = _evaluate(right, values)
            if isinstance(op, ast.Pow | ast.BitXor) and abs(second) > MAX_POWER:
                raise ValueError(f"an exponent above {MAX_POWER:g}")
            result = BINARY[type(op)](first, second)
            if isinstance(result, complex):
                raise ValueError("a root of a negative number")
            return result
        case ast.Call(func=ast.Name(id=name), args=args):
            return float(FUNCTIONS[name](*(_evaluate(arg, values) for arg in args)))
    raise ValueError(ast.unparse(tree))
