"""Inputs that try to take over the instructions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.checks.material import Mark, Material, marks_of, rows_that
from etude.checks.record import FindingKind, finds
from etude.types import Finding

INJECTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\s{1,4}(?:all |any |the |your |my |of |these |those ){0,3}"
    r"(?:previous|prior|above|earlier|preceding|former)\s{1,4}(?:instructions?|prompts?|rules|messages|directions)\b"
    r"(?! (?:i|we|you) (?:got|had|sent|received)\b)"
    r"|\b(?:ignore|disregard|override)\s{1,4}(?:all|any|your|all your|all of your|all the) "
    r"(?:instructions|prompts|rules|guidelines)\b"
    r"|\bforget\s{1,4}(?:everything|all|what) (?:that )?(?:you (?:were|have been|['’]ve been|are) (?:told|taught)|"
    r"i (?:said|told you)|(?:said )?(?:above|before))\b"
    r"|\b(?:reveal|print|repeat|show)(?: me)? (?:your|the) (?:hidden |secret |full )?system prompt\b"
    r"|\b(?:reveal|print|repeat|output) (?:your|the) (?:hidden|secret|initial|original) (?:prompt|instructions)\b"
    r"|\byou are now (?:DAN|in developer mode|unrestricted|jailbroken)\b"
    r"|\b(?:ignorier\w{0,3}|vergiss|vergessen sie|missachte\w{0,2})\s(?:bitte )?(?:all\w{0,2}|deine|ihre|die|sämtliche)"
    r"\s(?:\w{3,12}\s){0,2}(?:anweisungen|instruktionen|vorgaben|regeln)\b"
    r"|\b(?:ignore[zr]?|oublie[zr]?)\s(?:toutes\s)?(?:les|tes|vos)\s(?:instructions|consignes|règles)\b"
    r"|\b(?:ignora|ignore|olvida|olvide)\s(?:todas\s)?(?:las|tus|sus)\s(?:instrucciones|reglas)\b"
    r"|\b(?:ignora|dimentica)\s(?:tutte\s)?(?:le|le tue)\s(?:istruzioni|regole)\b"
    r"|\b(?:ignore|ignora|esqueça|esquece)\s(?:todas\s)?(?:as|suas|as suas)\s(?:instruções|regras)\b"
    r"|\b(?:negeer|vergeet)\s(?:al\w{0,2}\s)?(?:\w{2,9}\s){0,2}(?:instructies|regels)\b"
    r"|\b(?:игнорируй(?:те)?|забудь(?:те)?)\s(?:все\s)?(?:\w{3,12}\s){0,2}(?:инструкции|указания|правила)\b"
    r"|(?:以前|これまで|上記|前|今まで)の?(?:すべての|全ての)?(?:指示|命令|ルール)を?(?:すべて|全て|全部)?(?:無視|忘れ)"
    r"|(?:忽略|无视|忘记|忽視|無視)(?:掉|你)?(?:之前|以上|前面|先前|上面)?的?(?:所有|一切|全部)?的?(?:指令|指示|规则|提示|規則)"
    r"|(?:이전|위|앞)의?\s?(?:모든\s)?(?:지시|지침|명령)(?:사항)?[을를은]?\s?(?:모두\s)?(?:무시|잊)",
    re.IGNORECASE,
)
"""Phrases with which an input tries to take over the instructions, in eleven languages."""
LONGEST = 200_000
"""Characters of a text that are looked at."""


@finds(
    FindingKind("injection", "warning", "inputs that try to take over the instructions", safety=True),
    quick=True,
)
def injections(material: Material) -> Iterator[Finding]:
    """Inputs that try to take over the instructions."""
    found: dict[int, list[Mark]] = {}
    for position, text in enumerate(material.inputs):
        if marks := marks_of(INJECTION.finditer(text[:LONGEST])):
            found[position] = marks
    if found:
        yield material.finding(
            "injection",
            "warning",
            list(found),
            f"{rows_that('hold', len(found), len(material.rows))} an instruction to ignore the instructions.",
            "Keep them only where the answer shows how such a request is refused.",
            evidence=(material.shown_input(position, marks) for position, marks in found.items()),
        )
