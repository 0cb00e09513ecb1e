"""Checks of single rows: empty answers, encoding errors, markup, placeholders, echoes, too many
words.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

from etude.checks.excerpts import CharSpan, list_spans
from etude.checks.kinds import FREE, TEXTS, FindingKind, finds
from etude.checks.material import MAX_EXCERPTS, Material, format_rows
from etude.checks.rows import damaged_text
from etude.text.lexicon import EMPTY_ANSWERS, POINTERS
from etude.text.normal_forms import to_canonical
from etude.types import Excerpt, Finding

SpanFinder = Callable[[str], list[CharSpan]]
MAX_EMPTY_SHARE = (
    0.2  # share of the answers up to which a word that can be an answer counts as empty
)
# Answers if many rows have them
POSSIBLE_ANSWERS = frozenset(("null", "nil", "na", "nan", "undefined", "test"))
# Error values of spreadsheets, in English, German, French, Spanish, Italian, Dutch and Portuguese.
_SHEET_ERROR = re.compile(
    r"#(?:REF|VALUE|DIV/0|NUM|NULL|SPILL|CALC|ERROR|FIELD|BLOCKED|CONNECT|BEZUG|WERT|ZAHL|ÜBERLAUF|KALK|VALEUR|NOMBRE"
    r"|NUL|PROPAGATION|¡REF|¡VALOR|¡DIV/0|¡NUM|¡NULO|¡DESBORDAMIENTO|RIF|VALORE|NULLO|ESPANSIONE|VERW|WAARDE|DEEL/0"
    r"|GETAL|LEEG|OVERLOOP|VALOR|NÚM|NULO|DESPEJAR)!"
    r"|#(?:NAME|NOM|¿NOMBRE|NOME|NAAM)\?|#N/[ABD]|#NV"
)
# Words of a question about spreadsheets, whose answer may be an error value.
_ON_SHEETS = re.compile(
    r"(?i)\b(?:excel|spreadsheets?|google "
    r"sheets|worksheets?|formula[es]?|formeln?|formules?|fórmulas?|cells?|zellen?"
    r"|cellules?|celdas?|celle|vlookup|libreoffice|tabellenkalkulation|columns?|spalten?|colonnes?|columnas?|colonn[ae]"
    r"|kolom(?:men)?|colunas?|rows?|zeilen?|sheets?)\b"
)
# Words that point to a row by its number.
_ROW_POINTER = re.compile(
    r"(?:see|siehe|voir|ver|vedi|zie) (?:the "
    r")?(?:row|line|ticket|question|answer|zeile|frage|antwort|ligne|fila|riga|"
    r"rij|linha) \d{1,6}"
)
TURN_MARKS = re.compile(
    r"<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|<start_of_turn>|<end_of_turn>|(?m:^)### "
    r"(?:Instruction|Response):"
)
# Names of placeholders, in any case, their words joined directly or by an underscore.
_PLACEHOLDER_NAME = (
    "name|first_?name|last_?name|full_?name|user_?name|customer|customer_?name|client|client_?name|agent|agent_?name|"
    "company|company_?name|brand|product|product_?name|date|time|day|month|year|address|street|city|country|"
    "e-?mail|phone|phone_?number|number|amount|price|total|order|order_?id|order_?number|order_?no|ticket_?id|id|url|"
    "link|title|topic|signature|position|department|placeholder|vorname|nachname|kunde|kundenname|firma|datum|nombre|"
    "apellido|fecha|empresa|nom|pr[ée]nom|entreprise|nome|cognome|azienda|data|名前|氏名|お名前|会社名|日付|姓名|公司|日期|이름|날짜"
)
# Placeholders in the usual formats of templates and letters. Markdown links, HTML elements, JSON,
# and numbered placeholders of masked data, `[ACCOUNT_1]`, do not match.
PLACEHOLDER = re.compile(
    r"\{\{[^{}\n]{1,60}\}\}|\{%[^{}\n]{1,80}%\}|<%[^<>\n]{1,60}%>"
    r"|(?i:\[(?!\w+_[0-9]+\])(?:your|insert|enter|add|customer|company|client|first|last|full|recipient|sender|user|"
    r"agent|order|invoice|ticket|account|booking|tracking|product|ihr|ihre|votre|su|tu)[ _]"
    r"[^\[\]\n]{1,40}\])(?!\()"
    rf"|\[(?i:{_PLACEHOLDER_NAME})\](?![(\[:])"
    r"|\[[A-Z]{2,20}(?:_[A-Z]{2,20}){1,3}\](?!\()|\[(?:TODO|TBD|TBA|FIXME|XXX+)\]"
    rf"|(?<![\w${{%])\$?\{{(?i:{_PLACEHOLDER_NAME})\}}(?!\w)|(?<!\w)\$\{{[a-z][a-zA-Z_.]{{1,30}}\}}"
    r"|(?<!\w)\{[a-z]{2,20}(?:_[a-z]{2,20}){1,3}\}(?![\w{])"
    rf"|«(?:[A-Z]{{2,20}}(?:[ _][A-Z]{{2,20}}){{0,3}}|(?i:{_PLACEHOLDER_NAME}))»"
    r"|(?<!\w)%[A-Z]{2,20}(?:_[A-Z]{2,20}){0,3}%(?!\w)"
    rf"|<(?:[A-Z]{{3,20}}(?:[ _][A-Z]{{2,20}}){{0,3}}|(?i:insert|enter|your)[ _][\w "
    rf"]{{2,40}})>(?!.{{0,400}}</)"
    r"|(?<![\w\\+-])X{4,12}(?![\w-])|^(?:TODO|FIXME)\b:?|\bTBD\b"
    r"|\b(?:lorem ipsum dolor)\b",
    re.MULTILINE,
)
MIN_SLOT_SHARE = (
    1 / 3
)  # share of rows with a placeholder from which on placeholders are deliberate slots
# A blank instead of a name. Only answers are searched, because an input often asks to fill in a
# blank.
BLANK = re.compile(
    r"\b(?:dear|hi|hello|mrs?\.?|ms\.?|name is|from|regards,|sincerely,)\s_{4,12}(?!\w)",
    re.IGNORECASE,
)
# Code, in which placeholders are syntax.
_CODE = re.compile(
    r"```(?s:.*?)(?:```|\Z)|`[^`\n]{1,200}`|^(?: {4}|\t)[^\n]*|\b(?:f[\"']|printf?\()[^\n]*"
    r"|^\s{0,40}(?:def|return|import|function|const|let|var|echo|SELECT)\s[^\n]*",
    re.MULTILINE,
)


@finds(FindingKind("empty", "error", "answers without content"), tasks=FREE, quick=True)
def check_empty(material: Material) -> Iterator[Finding]:
    """Find free answers without content: a dash, "n/a", "todo"; words such as "null" only if few
    rows have them.
    """
    answers = material.outputs
    plain = material.plain_outputs
    # Only dashes and dots are blank: an answer of other symbols, such as an emoji or a formula, may
    # be intended.
    rows = {
        row
        for row, text in enumerate(plain)
        if (text in EMPTY_ANSWERS or not (text or answers[row].strip(" .-_–—?!/*#")))
        and not _SHEET_ERROR.fullmatch(answers[row])
    }
    if len(rows) > MAX_EMPTY_SHARE * len(plain):
        rows = {row for row in rows if plain[row] not in POSSIBLE_ANSWERS}
    # Error values of spreadsheets have no content, unless the question or the task is about
    # spreadsheets.
    if not _ON_SHEETS.search(material.task.instructions or ""):
        rows.update(
            row
            for row, answer in enumerate(answers)
            if _SHEET_ERROR.fullmatch(answer) and not _ON_SHEETS.search(material.inputs[row])
        )
    pointers = [
        row for row, text in enumerate(plain) if text in POINTERS or _ROW_POINTER.fullmatch(text)
    ]
    if len(pointers) <= MAX_EMPTY_SHARE * len(plain):
        rows.update(pointers)
    if rows:
        yield material.finding(
            "empty",
            "error",
            sorted(rows),
            f"{format_rows('have', len(rows), len(plain))} an answer without content.",
            "Write the answer, or delete the row.",
            excerpts=material.show_rows(sorted(rows)[:10]),
        )


@finds(
    FindingKind(
        "encoding", "warning", "wrongly decoded characters (`Ã¤` for `ä`) and control characters"
    ),
    quick=True,
)
def check_encoding(material: Material) -> Iterator[Finding]:
    """Find characters of a wrong decoding, and control characters."""
    rows, excerpts = _find_rows(
        material, lambda text: list_spans(damaged_text.find_wrong_characters(text))
    )
    if rows:
        fix = "repairs text that was clearly decoded wrongly, and deletes control characters"
        yield material.finding(
            "encoding",
            "warning",
            rows,
            f"{format_rows('contain', len(rows), len(material.rows))} wrongly decoded or control "
            "characters.",
            "Get the texts from their source again as UTF-8.",
            excerpts=excerpts,
            fix=fix if _changes_any(material, rows, damaged_text.fix_encoding) else "",
        )


@finds(
    FindingKind("markup", "warning", "HTML in some of the rows"),
    FindingKind("turn_marks", "error", "chat-template tokens (`<|im_end|>`)"),
    quick=True,
)
def check_markup(material: Material) -> Iterator[Finding]:
    """Find HTML outside of code, if only some rows have it, and chat-template tokens."""
    total = len(material.rows)
    rows, excerpts = _find_rows(material, lambda text: list_spans(damaged_text.find_markup(text)))
    hashes = list(map(hash, zip(material.inputs, material.outputs, strict=True)))
    if rows and damaged_text.is_leftover(
        dict.fromkeys(hashes, False) | {hashes[row]: True for row in rows}
    ):
        fix = (
            "removes tags of line breaks and emphasis, and decodes entities; links, lists and "
            "texts about HTML are not changed"
        )
        yield material.finding(
            "markup",
            "warning",
            rows,
            f"{format_rows('contain', len(rows), total)} HTML; the others do not.",
            "Remove the HTML, unless the answers should contain it.",
            excerpts=excerpts,
            fix=fix if _changes_any(material, rows, damaged_text.remove_markup) else "",
        )
    rows, excerpts = _find_rows(material, lambda text: list_spans(TURN_MARKS.finditer(text)))
    if rows:
        yield material.finding(
            "turn_marks",
            "error",
            rows,
            f"{format_rows('contain', len(rows), total)} chat-template tokens, such as "
            f"{_most_frequent_span(excerpts)!r}.",
            "Remove the tokens, or write the turns as messages: the model's tokenizer adds the "
            "template.",
            excerpts=excerpts,
        )


def _changes_any(material: Material, rows: Sequence[int], repair: Callable[[str], str]) -> bool:
    """Whether `--fix` changes any of these rows; it never changes labels."""
    examples = (material.rows[row] for row in rows)
    texts = chain.from_iterable(
        (
            *(turn.content for turn in row.input if turn.role != "system"),
            *(() if material.task.kind == "classify" else (row.output,)),
        )
        for row in examples
    )
    return any(repair(text) != text for text in texts)


@finds(
    FindingKind(
        "placeholder", "warning, note", "placeholders such as `{{name}}` that were never filled in"
    ),
    quick=True,
)
def check_placeholders(material: Material) -> Iterator[Finding]:
    """Find placeholders such as {{name}}. The finding is a note if a third of the rows have one,
    because these are slots that a program fills in.
    """
    is_extract = material.task.kind == "extract"

    def find_in_answer(text: str) -> list[CharSpan]:
        return [] if is_extract else _find_placeholders(text, PLACEHOLDER, BLANK)

    rows, excerpts = _find_rows(
        material, lambda text: _find_placeholders(text, PLACEHOLDER), find_in_answer
    )
    if rows:
        is_leftover = len(rows) < MIN_SLOT_SHARE * len(material.rows)
        kind = "an unfilled placeholder" if is_leftover else "a slot"
        yield material.finding(
            "placeholder",
            "warning" if is_leftover else "note",
            rows,
            f"{format_rows('contain', len(rows), len(material.rows))} {kind}, such as "
            f"{_most_frequent_span(excerpts)!r}"
            f"{'; the others contain none' if is_leftover else ''}.",
            "Fill in the placeholders, or delete the rows."
            if is_leftover
            else "A model learns to write the slots themselves: keep them if your program fills "
            "them in.",
            excerpts=excerpts,
        )


def _find_placeholders(text: str, *patterns: re.Pattern[str]) -> list[CharSpan]:
    spans = [span for pattern in patterns for span in list_spans(pattern.finditer(text))]
    code = [match.span() for match in _CODE.finditer(text)] if spans else []
    return [
        (low, high) for low, high in spans if not any(begin <= low < end for begin, end in code)
    ]


@finds(
    FindingKind("echo", "error, note", "answers that repeat their input"), tasks=TEXTS, quick=True
)
def check_echoes(material: Material) -> Iterator[Finding]:
    """Find answers that equal their input or the last turn of it."""
    rows = []
    for row, (plain, answer) in enumerate(
        zip(material.plain_inputs, material.plain_outputs, strict=True)
    ):
        if " " in answer and plain.endswith(answer):
            example = material.rows[row]
            turns = (example.text, example.input[-1].content)
            rows += [row] if to_canonical(example.output) in map(to_canonical, turns) else []
    if rows:
        is_rewrite = material.task.kind == "rewrite"
        yield material.finding(
            "echo",
            "note" if is_rewrite else "error",
            rows,
            f"{format_rows('have', len(rows), len(material.rows))} an answer that only repeats "
            "the input.",
            "Keep these rows only if their input needed no change."
            if is_rewrite
            else "Write the answer.",
            excerpts=(material.show_output(row) for row in rows),
        )


@finds(FindingKind("too_long", "error", "rows that are too long to train on"))
def check_length(material: Material) -> Iterator[Finding]:
    """Find rows whose words alone exceed the token limit of training, so that they cannot be
    trained on as a whole.
    """
    max_tokens = material.task.row_tokens
    rows = []
    shows_input = {}
    for row, (source, answer) in enumerate(zip(material.inputs, material.outputs, strict=True)):
        # A text of fewer characters than the limit need not be split into words.
        if (
            len(source) + len(answer) > max_tokens
            and len(source.split()) + len(answer.split()) > max_tokens
        ):
            rows.append(row)
            shows_input[row] = len(source) > len(answer)
    if rows:
        yield material.finding(
            "too_long",
            "error",
            rows,
            f"{format_rows('have', len(rows), len(material.rows))} more words than the "
            f"{max_tokens:,} tokens that fine_tune can train on.",
            "Shorten the rows, split them into several rows, set train: {max_tokens: ...} if the "
            "model's context is longer, or remove fine_tune from methods:.",
            excerpts=(
                (material.show_input if shows_input[row] else material.show_output)(row)
                for row in rows
            ),
        )


def _find_rows(
    material: Material, find_in_input: SpanFinder, find_in_answer: SpanFinder | None = None
) -> tuple[list[int], list[Excerpt]]:
    """Return the rows with spans in the input or the answer, and excerpts; both are searched alike
    by default.
    """
    rows: list[int] = []
    excerpts: list[Excerpt] = []
    find = partial(
        _find_spans, find_in_input=find_in_input, find_in_answer=find_in_answer or find_in_input
    )
    for row, spans in enumerate(material.map_rows(find, material.inputs, material.outputs)):
        if spans:
            rows.append(row)
            if len(excerpts) < MAX_EXCERPTS:
                in_input, in_answer = spans
                show = material.show_output if in_answer else material.show_input
                excerpts.append(show(row, sorted(in_answer or in_input)))
    return rows, excerpts


def _find_spans(
    source: str, answer: str, find_in_input: SpanFinder, find_in_answer: SpanFinder
) -> tuple[list[CharSpan], list[CharSpan]] | None:
    """Return the spans in the input and in the answer; None if there are none, which is smaller to
    send.
    """
    spans = find_in_input(source), find_in_answer(answer)
    return spans if any(spans) else None


def _most_frequent_span(excerpts: Sequence[Excerpt]) -> str:
    spans = Counter(excerpt.text[low:high] for excerpt in excerpts for low, high in excerpt.spans)
    return spans.most_common(1)[0][0] if spans else ""
