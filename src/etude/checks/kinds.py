"""The kinds of finding by name, and what each names: for gates and for programs that read findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from etude.base.remedies import instead
from etude.checks.safety.advice import ADVICE
from etude.checks.style.features import STYLES
from etude.checks.style.registers import PAIRS
from etude.errors import Fault, InputError, shown
from etude.privacy import BLOCKING, REVIEW
from etude.types import Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The gravest first."""
KINDS: Mapping[str, str] = {
    "unreadable": "rows that cannot be read",
    "roles": "turns of a chat in an order or of a role that cannot be learned",
    "tools": "turns of a chat that call tools, which cannot be learned yet",
    "empty_turn": "turns of a chat that hold nothing",
    "label": "labels outside the contract, or none",
    "instructions": "system messages that contradict the instructions or each other",
    "contract": "answers that break the contract",
    "too_few": "fewer rows than a comparison takes",
    "unknown_model": "a model that is not there",
    "empty": "rows and answers that say nothing",
    "truncated": "answers that stop in the middle of a sentence",
    "encoding": "characters of a wrong decoding, control characters",
    "markup": "HTML that is left in some rows",
    "turn_marks": "marks of a chat template",
    "placeholder": "places that were never filled in",
    "echo": "answers that are their input",
    "refusal": "answers with which a language model refuses or excuses itself",
    "language": "texts in another language or script than the set's own",
    "answer_language": "answers in another language than their input, in a set of several",
    "too_long": "rows longer than training takes",
    "contradiction": "one input with several answers",
    "near_contradiction": "nearly one input with several answers",
    "preference": "worse answers that stand beside the ones that are taught",
    "preference_same": "the same answer as the better and the worse one",
    "preference_swapped": "answers taught in one row and called worse in another",
    "repeated_input": "inputs that stand in an earlier row",
    "near_duplicate": "inputs that nearly repeat another's",
    "repeated_output": "answers that stand in an earlier row",
    "test_overlap": "test rows that stand among the examples",
    "test_answers": "answers of the test that stand among the examples",
    "template": "inputs that are one frame of words, filled in",
    "wrong_label": "labels that look wrong",
    "unsupported": "fields of a record that its text does not support",
    "unjudged": "fields of a record that could not be compared with its text",
    "omitted": "fields that a text seems to state and its record leaves out",
    "unlike_neighbours": "rows answered otherwise than the inputs most like them",
    **{f"style_{style.name}": "a feature of style that no input tells" for style in STYLES},
    "style_length": "answers of two lengths that no input tells",
    "style_field_order": "fields in several orders that no input tells",
    **{
        f"style_{name}": f"words both {one.said} and {other.said} that no input tells"
        for name, one, other in PAIRS
    },
    "no_contract": "the contract that would fit, where the task has none",
    **{f"privacy_{kind}": "personal data or secrets" for kind in BLOCKING},
    "own_contact": "contact data taken for the organisation's own",
    **{f"review_{kind}": "what may be personal data, for a person to read" for kind in REVIEW},
    "injection": "inputs that try to take over the instructions",
    "insult": "answers with an insult or a vulgar word",
    "threat": "texts that threaten",
    **{f"advice_{name}": f"answers with {topic.said}" for name, topic in ADVICE.items()},
    "label_spelling": "labels written in several ways",
    "classes": "rows of each label",
    "uncovered_documents": "documents that no example speaks of",
    "no_document": "answers that name no document where nearly all others do",
    "few_rows": "fewer rows than such tasks usually take",
}
"""Kind -> what is named."""


def names(gate: str, kind: str) -> bool:
    """Whether a gate, such as `empty` or `privacy_*`, names a kind."""
    return fnmatchcase(kind, gate)


def check_gates(gates: Sequence[str]) -> None:
    """Raises InputError for gates that name neither a severity nor a kind, with the nearest name: they could
    never fail."""
    known = [*SEVERITIES, *KINDS]
    unknown = [gate for gate in gates if not any(names(gate, kind) for kind in known)]
    if unknown:
        raise InputError(
            [
                Fault("--fail-on", "no such kind or severity of finding", shown(gate), _instead(gate, known))
                for gate in unknown
            ]
        )


def _instead(gate: str, known: Sequence[str]) -> str:
    """What to write in place of an unknown gate; several with a comma between them are given one by one."""
    parts = [part.strip() for part in gate.split(",") if part.strip()]
    if len(parts) > 1:
        return "give each by itself: " + " ".join(f"--fail-on {part}" for part in parts)
    return instead(gate, known)
