"""The form of single rows: broken encoding, markup, placeholders, echoes, too long."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from etude.checks.material import MOST_EVIDENCE, Mark, Material, marks_of, rows_that
from etude.checks.record import TEXTS, FindingKind, finds
from etude.repair.texts import LEFTOVER, decoded, markup_in, without_markup, wrong_characters
from etude.text.normal_forms import with_signs
from etude.types import Example, Excerpt, Finding

TURN_MARKS = re.compile(
    r"<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|<start_of_turn>|<end_of_turn>|(?m:^)### (?:Instruction|Response):"
)
Look = Callable[[str], list[Mark]]
"""Where a text shows something."""
_PLACE = (
    "name|first_?name|last_?name|full_?name|user_?name|customer|customer_?name|client|client_?name|agent|agent_?name|"
    "company|company_?name|brand|product|product_?name|date|time|day|month|year|address|street|city|country|"
    "e-?mail|phone|phone_?number|number|amount|price|total|order|order_?id|order_?number|order_?no|ticket_?id|id|url|"
    "link|title|topic|signature|position|department|placeholder|vorname|nachname|kunde|kundenname|firma|datum|nombre|"
    "apellido|fecha|empresa|nom|pr[ée]nom|entreprise|nome|cognome|azienda|data|名前|氏名|お名前|会社名|日付|姓名|公司|日期|이름|날짜"
)
"""What a place is called, in any case, its words joined by nothing or a low line."""
PLACEHOLDER = re.compile(
    r"\{\{[^{}\n]{1,60}\}\}|\{%[^{}\n]{1,80}%\}|<%[^<>\n]{1,60}%>"
    r"|(?i:\[(?!\w+_[0-9]+\])(?:your|insert|enter|add|customer|company|client|first|last|full|recipient|sender|user|"
    r"agent|order|invoice|ticket|account|booking|tracking|product|ihr|ihre|votre|su|tu)[ _]"
    r"[^\[\]\n]{1,40}\])(?!\()"
    rf"|\[(?i:{_PLACE})\](?![(\[:])"
    r"|\[[A-Z]{2,20}(?:_[A-Z]{2,20}){1,3}\](?!\()|\[(?:TODO|TBD|TBA|FIXME|XXX+)\]"
    rf"|(?<![\w${{%])\$?\{{(?i:{_PLACE})\}}(?!\w)|(?<!\w)\$\{{[a-z][a-zA-Z_.]{{1,30}}\}}"
    r"|(?<!\w)\{[a-z]{2,20}(?:_[a-z]{2,20}){1,3}\}(?![\w{])"
    rf"|«(?:[A-Z]{{2,20}}(?:[ _][A-Z]{{2,20}}){{0,3}}|(?i:{_PLACE}))»"
    r"|(?<!\w)%[A-Z]{2,20}(?:_[A-Z]{2,20}){0,3}%(?!\w)"
    rf"|<(?:[A-Z]{{3,20}}(?:[ _][A-Z]{{2,20}}){{0,3}}|(?i:insert|enter|your)[ _][\w ]{{2,40}})>(?!.{{0,400}}</)"
    r"|(?<![\w\\+-])X{4,12}(?![\w-])|^(?:TODO|FIXME)\b:?|\bTBD\b"
    r"|\b(?:lorem ipsum dolor)\b",
    re.MULTILINE,
)
"""Placeholders in the usual forms of templates and letters. Links in Markdown, HTML elements, JSON and numbered marks
of masked data, `[ACCOUNT_1]`, do not match."""
BLANK = re.compile(
    r"\b(?:dear|hi|hello|mrs?\.?|ms\.?|name is|from|regards,|sincerely,)\s_{4,12}(?!\w)", re.IGNORECASE
)
"""A blank in place of a name, looked for in answers only: in an input it is often what is asked for."""
_CODE = re.compile(
    r"```(?s:.*?)(?:```|\Z)|`[^`\n]{1,200}`|^(?: {4}|\t)[^\n]*|\b(?:f[\"']|printf?\()[^\n]*"
    r"|^\s{0,40}(?:def|return|import|function|const|let|var|echo|SELECT)\s[^\n]*",
    re.MULTILINE,
)
"""Code, in which such forms are syntax."""


@finds(
    FindingKind("encoding", "warning", "wrongly decoded characters (`Ã¤` for `ä`) and control characters"),
    quick=True,
)
def encoding(material: Material) -> Iterator[Finding]:
    """Characters that come of a wrong decoding, and control characters."""
    rows, shown = _matching(material, lambda text: marks_of(wrong_characters(text)))
    if rows:
        yield material.finding(
            "encoding",
            "warning",
            rows,
            f"{rows_that('hold', len(rows), len(material.rows))} characters that come of a wrong decoding, or control "
            "characters.",
            "Take the texts from their source again as UTF-8.",
            evidence=shown,
            fix=_fix(
                material,
                rows,
                decoded,
                "decodes text that was clearly decoded wrongly, deletes control characters",
            ),
        )


@finds(
    FindingKind("markup", "warning", "HTML that is left in some rows"),
    FindingKind("turn_marks", "error", "marks of a chat template (`<|im_end|>`)"),
    quick=True,
)
def markup(material: Material) -> Iterator[Finding]:
    """HTML that is left in some of the rows, outside of code, and the marks of a chat template."""
    rows, shown = _matching(material, lambda text: marks_of(markup_in(text)))
    if rows and len(rows) <= LEFTOVER * len(material.rows):
        yield material.finding(
            "markup",
            "warning",
            rows,
            f"{rows_that('hold', len(rows), len(material.rows))} HTML; the others do not.",
            "Take it out, unless the answers are meant to hold HTML.",
            evidence=shown,
            fix=_fix(
                material,
                rows,
                without_markup,
                "takes tags of emphasis and line breaks out, writes entities as characters; links, lists and texts "
                "about HTML stay",
            ),
        )
    rows, shown = _matching(material, lambda text: marks_of(TURN_MARKS.finditer(text)))
    if rows:
        yield material.finding(
            "turn_marks",
            "error",
            rows,
            f"{rows_that('hold', len(rows), len(material.rows))} the marks of a chat template, such as "
            f"{_first(shown)!r}.",
            "Take the marks out, or write the turns as messages: the template is put on by the model's tokenizer.",
            evidence=shown,
        )


def _fix(material: Material, rows: Sequence[int], mend: Callable[[str], str], what: str) -> str:
    """What `--fix` does, where it does anything about these rows."""
    found = (material.rows[position] for position in rows)
    labels = material.task.kind == "classify"
    texts = chain.from_iterable(
        (*(turn.content for turn in row.input), *(() if labels else (row.output,))) for row in found
    )
    return what if any(mend(text) != text for text in texts) else ""


@finds(
    FindingKind("placeholder", "warning, note", "places such as `{{name}}` that were never filled in"),
    quick=True,
)
def placeholders(material: Material) -> Iterator[Finding]:
    """Places such as {{name}} that were never filled in; a note if most rows have one and may be templates."""
    in_answer = _nowhere if material.task.kind == "extract" else _places_and_blanks
    rows, shown = _matching(material, _places, in_answer)
    if rows:
        few = len(rows) <= LEFTOVER * len(material.rows)
        yield material.finding(
            "placeholder",
            "warning" if few else "note",
            rows,
            f"{rows_that('hold', len(rows), len(material.rows))} a place that was never filled in, such as "
            f"{_first(shown)!r}{'; the others hold none' if few else ''}.",
            "Fill the places in, or delete the rows."
            if few
            else "A model learns to write them as they are: keep them only if your program fills them in.",
            evidence=shown,
        )


def _places(text: str) -> list[Mark]:
    """Where a place was not filled in, outside of code."""
    return _outside_code(text, marks_of(PLACEHOLDER.finditer(text)))


def _places_and_blanks(text: str) -> list[Mark]:
    """The same in an answer, and where it has a blank in the place of a name."""
    return _outside_code(text, marks_of(PLACEHOLDER.finditer(text)) + marks_of(BLANK.finditer(text)))


def _nowhere(_: str) -> list[Mark]:
    return []


def _outside_code(text: str, marks: list[Mark]) -> list[Mark]:
    if not marks:
        return marks
    code = [match.span() for match in _CODE.finditer(text)]
    return [(low, high) for low, high in marks if not any(begin <= low < end for begin, end in code)]


@finds(FindingKind("echo", "error, note", "answers that repeat their input"), tasks=TEXTS, quick=True)
def echoes(material: Material) -> Iterator[Finding]:
    """Answers that are their input, or the last turn of it."""
    pairs = zip(material.plain_inputs, material.plain_outputs, strict=True)
    likely = [row for row, (asked, given) in enumerate(pairs) if " " in given and asked.endswith(given)]
    rows = [row for row in likely if _is_echo(material.rows[row])]
    if rows:
        rewrite = material.task.kind == "rewrite"
        yield material.finding(
            "echo",
            "note" if rewrite else "error",
            rows,
            f"{rows_that('have', len(rows), len(material.rows))} an answer that only repeats the input.",
            "Keep them only where nothing was to be changed." if rewrite else "Write the answer.",
            evidence=(material.shown_output(position) for position in rows),
        )


def _is_echo(row: Example) -> bool:
    answer = with_signs(row.output)
    return answer in (with_signs(row.text), with_signs(row.input[-1].content))


@finds(FindingKind("too_long", "error", "rows longer than training takes"))
def too_long(material: Material) -> Iterator[Finding]:
    """Rows that cannot be trained on whole: more words than training takes tokens."""
    pairs = zip(material.inputs, material.outputs, strict=True)
    most = material.task.row_tokens
    rows = [position for position, texts in enumerate(pairs) if _has_more_words(texts, most)]
    if rows:
        yield material.finding(
            "too_long",
            "error",
            rows,
            f"{rows_that('have', len(rows), len(material.rows))} more words than the {most:,} tokens that "
            "fine_tune takes of a row.",
            "Shorten them, split them into several rows, set train: {max_tokens: ...} where the model can read more, "
            "or leave fine_tune out of methods:.",
            evidence=(_longer(material, position) for position in rows),
        )


def _has_more_words(texts: Sequence[str], most: int) -> bool:
    return sum(map(len, texts)) > most and sum(len(text.split()) for text in texts) > most


def _longer(material: Material, position: int) -> Excerpt:
    """The longer text of a row as evidence."""
    of_input = len(material.inputs[position]) > len(material.outputs[position])
    return material.shown_input(position) if of_input else material.shown_output(position)


def _matching(
    material: Material, in_input: Look, in_answer: Look | None = None
) -> tuple[list[int], list[Excerpt]]:
    """Rows in whose input or answer marks are found, and evidence of them; one look for both where no
    other is given for the answer."""
    rows: list[int] = []
    shown: list[Excerpt] = []
    for row, (asked, given) in enumerate(zip(material.inputs, material.outputs, strict=True)):
        of_input, of_answer = in_input(asked), (in_answer or in_input)(given)
        if of_input or of_answer:
            rows.append(row)
            if len(shown) < MOST_EVIDENCE:
                show = material.shown_output if of_answer else material.shown_input
                shown.append(show(row, sorted(of_answer or of_input)))
    return rows, shown


def _first(shown: Sequence[Excerpt]) -> str:
    """The most frequent marked passage."""
    passages = Counter(one.text[low:high] for one in shown for low, high in one.spans)
    return passages.most_common(1)[0][0] if passages else ""
