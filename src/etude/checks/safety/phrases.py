"""Phrases that attack, threaten, advise or refuse, and insults, from YAML files next to this
module.

A file of phrases maps a language or a subject to an entry:

    hints: words, as `normalise` returns them; every text with such a phrase contains one of them.
    An entry without
        hints, for languages without spaces, applies to texts with letters other than ASCII
    patterns: regular expressions that ignore case; they must take linear time
    any other key: a list of alternatives that the patterns of the entry use as <key>

The entry `shared` has such lists for all entries of the file. Other wordings and other reasons are
missed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from etude.base.word_lists import merge_patterns, parse_words, read_table, read_words
from etude.checks.excerpts import CharSpan, list_spans
from etude.checks.kinds import FREE, TEXTS, FindingKind, create_family, finds
from etude.checks.material import Material, format_rows
from etude.checks.rows.quotations import blank_quotations
from etude.text.normal_forms import normalise
from etude.types import Column, Finding, Severity

MAX_TEXT = 200_000  # characters of a text that are searched
MAX_BEGINNING = 300  # characters of an answer in which a refusal begins and ends
MANY_SHARE = 0.05  # share of the rows from which refusals may be intended
MIN_MANY = 5  # the same as a number of rows
TONE_REMEDY = "Read these answers: a model learns the tone of its examples."
SpansByRow = Mapping[int, list[CharSpan]]


@dataclass(frozen=True)
class Phrases:
    """The phrases of one entry."""

    hints: frozenset[str]
    pattern: re.Pattern[str]
    description: str = ""

    def is_possible(self, text: str, words: Set[str]) -> bool:
        """Whether a text with these normalised words may contain a phrase: a quick test."""
        return not self.hints.isdisjoint(words) if self.hints else not text.isascii()

    def find(self, text: str) -> list[CharSpan]:
        """Find the phrases in a text; the hints are not checked."""
        return list_spans(self.pattern.finditer(text[:MAX_TEXT]))


def load_phrases(name: str) -> Mapping[str, Phrases]:
    """Load the entries of a file."""
    table = read_table(__file__, name)
    shared = table.pop("shared", {})
    entries = {}
    for name, entry in table.items():
        patterns = entry["patterns"]
        for key, value in {**shared, **entry}.items():
            if isinstance(value, list):
                patterns = [
                    pattern.replace(f"<{key}>", f"(?:{'|'.join(value)})") for pattern in patterns
                ]
        hints = parse_words(entry.get("hints", ""))
        entries[name] = Phrases(hints, merge_patterns(patterns), entry.get("description", ""))
    return entries


def find_first(entries: Iterable[Phrases], text: str) -> CharSpan | None:
    """Find the first match of the first entry that matches."""
    return next((match.span() for entry in entries if (match := entry.pattern.search(text))), None)


_INJECTION = load_phrases("injections.yaml")["any language"]
_THREATS = load_phrases("threats.yaml")
_ADVICE = load_phrases("advice.yaml")
_REFUSALS = load_phrases("refusals.yaml")
HARM = read_words(__file__, "harm.yaml")[
    "words"
]  # words of inputs that may be refused for good reasons
_INSULTS = read_table(__file__, "insults.yaml")
ALWAYS_INSULTING = frozenset().union(*map(parse_words, _INSULTS["any_language"].values()))
# Language -> words that are insults in it, but ordinary in another language.
INSULTING_IN = {
    language: parse_words(words) for language, words in _INSULTS["one_language"].items()
}
_SOMETIMES_INSULTING = frozenset().union(*INSULTING_IN.values())
_UNSPACED = "|".join(_INSULTS["unspaced"].split())
_IS_UNSPACED = re.compile(_UNSPACED)


def find_threat(text: str, plain: str) -> CharSpan | None:
    """Find a threat in a text, outside of quotations; `plain` is its normalised form."""
    words = set(plain.split())
    entries = [entry for entry in _THREATS.values() if entry.is_possible(text, words)]
    return find_first(entries, blank_quotations(text[:MAX_TEXT])) if entries else None


@finds(
    FindingKind(
        "injection", "warning", "inputs that tell the model to ignore its instructions", safety=True
    ),
    quick=True,
)
def check_injections(material: Material) -> Iterator[Finding]:
    """Find inputs that tell the model to ignore its instructions."""
    matches = enumerate(material.map_rows(_INJECTION.find, material.inputs))
    rows = {row: spans for row, spans in matches if spans}
    message = f"{_count_rows(material, rows, 'contain')} a request to ignore the instructions."
    remedy = "Keep these rows only if the answer shows how to refuse such a request."
    yield from _report(material, "injection", "warning", "input", rows, message, remedy)


@finds(
    FindingKind(
        "threat", "warning, note", "inputs and free-text answers with a threat", safety=True
    )
)
def check_threats(material: Material) -> Iterator[Finding]:
    """Find inputs and free answers with a threat."""
    rows = _find_threats(material, material.inputs, material.plain_inputs)
    message = f"{_count_rows(material, rows)} an input with a threat."
    remedy = "Keep these rows only if the answer is calm."
    yield from _report(material, "threat", "note", "input", rows, message, remedy)
    if material.is_free_text:
        rows = _find_threats(material, material.outputs, material.plain_outputs)
        message = f"{_count_rows(material, rows)} an answer with a threat."
        yield from _report(material, "threat", "warning", "output", rows, message, TONE_REMEDY)


def _find_threats(material: Material, texts: Sequence[str], plain: Sequence[str]) -> SpansByRow:
    return {
        row: [span] for row, span in enumerate(material.map_rows(find_threat, texts, plain)) if span
    }


@finds(
    *create_family(
        "advice",
        {name: f"answers with {phrases.description}" for name, phrases in _ADVICE.items()},
        "note",
        safety=True,
    ),
    tasks=FREE,
)
def check_advice(material: Material) -> Iterator[Finding]:
    """Find free answers that advise their reader on health, law or money, or give a treatment with
    its dose.

    Words on the topic alone do not count ("my card payment", "the court met").
    """
    remedy = (
        "Have these answers reviewed by an expert: a tuned model gives such advice to everybody."
    )
    for name, phrases in _ADVICE.items():
        matches = enumerate(material.map_rows(phrases.find, material.outputs))
        rows = {row: spans for row, spans in matches if spans}
        message = f"{_count_rows(material, rows)} an answer with {phrases.description}."
        yield from _report(material, f"advice_{name}", "note", "output", rows, message, remedy)


@finds(
    FindingKind("insult", "warning", "answers with an insult or a vulgar word", safety=True),
    tasks=FREE,
)
def check_insults(material: Material) -> Iterator[Finding]:
    """Find answers with insults."""
    rows: dict[int, list[CharSpan]] = {}
    for row, plain in enumerate(material.plain_outputs):
        words = plain.split()
        insults = ALWAYS_INSULTING.intersection(words)
        if not _SOMETIMES_INSULTING.isdisjoint(words):
            language = material.answer_language(row) or ""
            insults |= INSULTING_IN.get(language, frozenset()).intersection(words)
        if not insults and (plain.isascii() or not _IS_UNSPACED.search(plain)):
            continue
        whole_words = (
            rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(insults)))})(?!\w)|" if insults else ""
        )
        pattern = re.compile(whole_words + _UNSPACED, re.IGNORECASE)
        spans = list_spans(pattern.finditer(blank_quotations(material.outputs[row])))
        # An insult whose spelling differs from its normalised form has no span. An insult in a
        # quotation does not count.
        if spans or not pattern.search(material.outputs[row]):
            rows[row] = spans
    message = f"{_count_rows(material, rows)} an answer with an insult or a vulgar word."
    yield from _report(material, "insult", "warning", "output", rows, message, TONE_REMEDY)


def _count_rows(material: Material, rows: SpansByRow, verb: str = "have") -> str:
    return format_rows(verb, len(rows), len(material.rows))


def _report(
    material: Material,
    kind: str,
    severity: Severity,
    column: Column,
    rows: SpansByRow,
    message: str,
    remedy: str,
) -> Iterator[Finding]:
    """Yield the finding of rows with phrases in one of their texts; nothing if there are no
    rows.
    """
    if rows:
        show = material.show_input if column == "input" else material.show_output
        excerpts = (show(row, spans) for row, spans in rows.items())
        yield material.finding(kind, severity, list(rows), message, remedy, excerpts=excerpts)


@finds(
    FindingKind(
        "refusal",
        "warning, note",
        "answers in which a language model refuses or says that it cannot help",
    ),
    tasks=TEXTS,
)
def check_refusals(material: Material) -> Iterator[Finding]:
    """Find refusals of harmless inputs; refusals that may be intended are a note."""
    refusals: dict[int, list[CharSpan]] = {}
    for row, (example, plain) in enumerate(zip(material.rows, material.plain_outputs, strict=True)):
        if span := find_refusal(example.output, plain):
            refusals[row] = [span]
        elif any(
            turn.role == "assistant"
            and turn.trained
            and find_refusal(turn.content, normalise(turn.content))
            for turn in example.input[:-1]
        ):
            # An earlier turn refuses; it is trained on too. The excerpt is of the input.
            refusals[row] = []
    harmful = {row: spans for row, spans in refusals.items() if _asks_for_harm(material, row)}
    harmless = {row: spans for row, spans in refusals.items() if row not in harmful}
    remedy = "Write the expected answer, or delete the row: otherwise a model learns to refuse."
    if len(harmless) >= max(MANY_SHARE * len(material.rows), MIN_MANY):
        remedy += " So many refusals may be intended, to teach what to refuse; if so, keep them."
    keep = "Keep these rows if such requests should be refused."
    groups: list[tuple[dict[int, list[CharSpan]], str, Severity, str]] = [
        (harmless, "", "warning", remedy),
        (harmful, "; the inputs may be a reason to refuse", "note", keep),
    ]
    for group, addition, severity, advice in groups:
        if group:
            yield material.finding(
                "refusal",
                severity,
                list(group),
                f"{format_rows('have', len(group), len(material.rows))} an answer in which a "
                f"language model refuses or says that it cannot help{addition}.",
                advice,
                excerpts=(
                    (material.show_output if spans else material.show_input)(row, spans)
                    for row, spans in group.items()
                ),
            )


def find_refusal(text: str, plain: str) -> CharSpan | None:
    """Find a refusal at the beginning of a text; `plain` is its normalised form."""
    beginning = text[:MAX_BEGINNING]
    words = set(plain[:MAX_BEGINNING].split())
    entries = (entry for entry in _REFUSALS.values() if entry.is_possible(beginning, words))
    return find_first(entries, beginning)


def _asks_for_harm(material: Material, row: int) -> bool:
    """Whether the input of a row seems to ask for something harmful, judged by its words."""
    text = material.inputs[row]
    plain = material.plain_inputs[row]
    if not (ALWAYS_INSULTING | HARM).isdisjoint(plain.split()):
        return True
    return find_threat(text, plain) is not None or bool(_INJECTION.pattern.search(text))
