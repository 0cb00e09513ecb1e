"""Answers with which a generator refused, or spoke of itself as a language model, left among the examples.

Known by phrases at the beginning of an answer; a refusal in words of its own, or with its reason, goes unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from etude.base.word_lists import read_words
from etude.checks.material import Mark, Material, rows_that
from etude.checks.record import TEXTS, FindingKind, finds
from etude.checks.safety.insults import ALWAYS
from etude.checks.safety.phrases import first_mark, is_injection, read_phrases, threat
from etude.text.normal_forms import normalise
from etude.types import Finding, Message, Severity

BEGINNING = 300
"""Characters of an answer in which a refusal begins and ends."""
MANY = 0.05
"""Share of the rows from which refusals may be what is to be learned."""
MANY_LEAST = 5
"""The same as a number of rows."""
HARM = read_words(__file__, "harm.yaml")["words"]
"""Words of inputs which may rightly be refused."""
_REFUSALS = read_phrases("refusals.yaml")


@finds(
    FindingKind("refusal", "warning, note", "answers with which a language model refuses or excuses itself"),
    tasks=TEXTS,
)
def refusals(material: Material) -> Iterator[Finding]:
    """Answers that are refusals: of harmless inputs, and of those that may be meant."""
    found: dict[int, list[Mark]] = {}
    for row, (example, plain) in enumerate(zip(material.rows, material.plain_outputs, strict=True)):
        if place := refusal_in(example.output, plain):
            found[row] = [place]
        elif any(map(_refuses, example.input[:-1])):
            found[row] = []
    harmful = {row: marks for row, marks in found.items() if _may_be_refused(material, row)}
    harmless = {row: marks for row, marks in found.items() if row not in harmful}
    remedy = "Write the answer that is wanted, or delete the row: a model learns to refuse."
    if len(harmless) >= max(MANY_LEAST, MANY * len(material.rows)):
        remedy += " So many may be meant, to teach what is refused: then keep them."
    yield from _named(material, harmless, "", "warning", remedy)
    remedy = "Keep them where such requests are to be refused."
    yield from _named(material, harmful, ", to an input that may call for it", "note", remedy)


def refusal_in(text: str, plain: str) -> Mark | None:
    """Where a refusal stands at the beginning of a text; `plain` is its normalised form."""
    beginning, words = text[:BEGINNING], set(plain[:BEGINNING].split())
    likely = (one for one in _REFUSALS.values() if one.may_be_in(beginning, words))
    return first_mark(likely, beginning)


def _refuses(turn: Message) -> bool:
    """Whether an earlier turn, which is learned too, is a refusal of the assistant's."""
    is_learned = turn.role == "assistant" and turn.trained
    return is_learned and refusal_in(turn.content, normalise(turn.content)) is not None


def _may_be_refused(material: Material, row: int) -> bool:
    """Whether the input of a row asks for harm, as far as its words tell."""
    text, plain = material.inputs[row], material.plain_inputs[row]
    asked = set(plain.split())
    return not asked.isdisjoint(ALWAYS | HARM) or bool(threat(text, plain)) or is_injection(text)


def _named(
    material: Material, found: Mapping[int, list[Mark]], asked: str, severity: Severity, remedy: str
) -> Iterator[Finding]:
    """The finding of these rows with the marks of their answers; of one without marks an earlier turn refuses."""
    if found:
        rows_found = rows_that("have", len(found), len(material.rows))
        yield material.finding(
            "refusal",
            severity,
            list(found),
            f"{rows_found} an answer with which a language model refuses or excuses itself{asked}.",
            remedy,
            evidence=(
                (material.shown_output if marks else material.shown_input)(row, marks)
                for row, marks in found.items()
            ),
        )
