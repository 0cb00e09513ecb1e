"""Answers that say nothing: blanks, error values of a spreadsheet, and words that point to another row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from etude.checks.material import Material, rows_that
from etude.checks.record import FREE, FindingKind, finds
from etude.text.lexicon import NOTHING, POINTERS
from etude.types import Finding

FEW = 0.2
"""Share of the answers up to which a word that can be an answer says nothing."""
ANSWERS = frozenset(("null", "nil", "na", "nan", "undefined", "test"))
"""What says nothing among other answers, and is one where many rows have it."""
_SHEET_ERROR = re.compile(
    r"#(?:REF|VALUE|DIV/0|NUM|NULL|SPILL|CALC|ERROR|FIELD|BLOCKED|CONNECT|BEZUG|WERT|ZAHL|ÜBERLAUF|KALK|VALEUR|NOMBRE"
    r"|NUL|PROPAGATION|¡REF|¡VALOR|¡DIV/0|¡NUM|¡NULO|¡DESBORDAMIENTO|RIF|VALORE|NULLO|ESPANSIONE|VERW|WAARDE|DEEL/0"
    r"|GETAL|LEEG|OVERLOOP|VALOR|NÚM|NULO|DESPEJAR)!"
    r"|#(?:NAME|NOM|¿NOMBRE|NOME|NAAM)\?|#N/[ABD]|#NV"
)
"""What Excel and its kind show in place of a value, in English, German, French, Spanish, Italian, Dutch and
Portuguese."""
_ON_SHEETS = re.compile(
    r"(?i)\b(?:excel|spreadsheets?|google sheets|worksheets?|formula[es]?|formeln?|formules?|fórmulas?|cells?|zellen?"
    r"|cellules?|celdas?|celle|vlookup|libreoffice|tabellenkalkulation|columns?|spalten?|colonnes?|columnas?|colonn[ae]"
    r"|kolom(?:men)?|colunas?|rows?|zeilen?|sheets?)\b"
)
"""A question about spreadsheets, whose answer may be an error value."""
_ROW = re.compile(
    r"(?:see|siehe|voir|ver|vedi|zie) (?:the )?(?:row|line|ticket|question|answer|zeile|frage|antwort|ligne|fila|riga|"
    r"rij|linha) \d{1,6}"
)
"""Words that point to a row by its number."""


@finds(FindingKind("empty", "error", "answers that say nothing"), tasks=FREE, quick=True)
def empty(material: Material) -> Iterator[Finding]:
    """Free answers that say nothing: a dash, "n/a", "todo"; "null" and the like where few rows have it."""
    plain = material.plain_outputs
    blank = [position for position, text in enumerate(plain) if _is_blank(text, material.outputs[position])]
    if len(blank) > FEW * len(plain):
        blank = [row for row in blank if plain[row] not in ANSWERS]
    rows = sorted({*blank, *_of_sheets(material), *_pointers(plain)})
    if rows:
        yield material.finding(
            "empty",
            "error",
            rows,
            f"{rows_that('have', len(rows), len(plain))} an answer that says nothing.",
            "Write the answer, or delete the row.",
            evidence=material.both(rows[:10]),
        )


def _is_blank(plain: str, answer: str) -> bool:
    """An answer made of marks alone can be meant: an emoji, a formula. Only dashes and dots are none; whether #N/A is
    one depends on the question (`_of_sheets`)."""
    if _SHEET_ERROR.fullmatch(answer):
        return False
    return plain in NOTHING or not (plain or answer.strip(" .-_–—?!/*#"))


def _of_sheets(material: Material) -> Iterator[int]:
    """Rows whose answer is an error value of a spreadsheet, where neither input nor instructions are about those."""
    if _ON_SHEETS.search(material.task.instructions or ""):
        return
    for row, answer in enumerate(material.outputs):
        if (
            answer.startswith("#")
            and _SHEET_ERROR.fullmatch(answer)
            and not _ON_SHEETS.search(material.inputs[row])
        ):
            yield row


def _pointers(plain: Sequence[str]) -> list[int]:
    """Rows whose answer only points to another one; none where many do."""
    rows = [row for row, text in enumerate(plain) if text in POINTERS or _ROW.fullmatch(text)]
    return rows if len(rows) <= FEW * len(plain) else []
