"""Limits that are judged clause by clause: people in danger, and forbidden subjects.

A question may hide a clause in the form of the task ("I am 12 and I cut my arms. A book about
that?"), so every clause of every turn of the user is judged by itself, whatever the form of the
whole. A clause is read by logistic regressions on vectors of `LAYERS` of MiniLM. That of danger is
fitted for each task (fit.py); those of subjects, and of danger without a task, are packaged
(clause_model.json, written by tools/danger.py from danger.yaml and subjects.yaml). A clause nearly
equal to an example of the user belongs to the example's limit. English only, except for the
examples. docs/trust.md reports what this misses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from etude.limits.question_form import to_question_form
from etude.limits.scope import list_questions
from etude.task.definition import Limit
from etude.types import Message

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

MODEL_FILE = Path(__file__).with_name("clause_model.json")
LAYERS = (2, 4, 6)
"""Layers whose mean states are a clause's vector; on left-out clauses they recall more than the
last layer alone.
"""
MIN_SIMILARITY = 0.75
"""Cosine with an example of the user from which a clause belongs to the example's limit."""
MIN_WORDS = 2
MAX_CLAUSES = 64
MAX_CHARACTERS = 4_000
"""A shorter clause is read only as a part of its sentence. Of a turn, this many characters and
clauses are read, half from its beginning and half from its end.
"""
_SENTENCE = re.compile(r"(?<=[.!?;:\n])\s+|\n+")
_CLAUSE = re.compile(
    r"[,()–—]\s*|\s+-+\s+|\s+(?:and|but|because|so|or|when|since|while|although)\s+", re.I
)


def find_clause_limits(
    limits: Sequence[Limit], chats: Sequence[Sequence[Message]], encoder: Encoder
) -> list[Limit | None]:
    """Find the limit that a clause of a user's turn belongs to, for each chat; of several limits,
    the first.
    """
    clauses_by_chat = [list_clauses(list_questions(chat)) for chat in chats]
    clauses = list(dict.fromkeys(clause for row in clauses_by_chat for clause in row))
    if not clauses:
        return [None] * len(chats)
    vectors = encoder.embed_layers(clauses, LAYERS)
    belongs = [_judge(limit, vectors, encoder) for limit in limits]
    position_of = {clause: position for position, clause in enumerate(clauses)}
    return [
        next(
            (
                limit
                for limit, hits in zip(limits, belongs, strict=True)
                if hits[[position_of[clause] for clause in row]].any()
            ),
            None,
        )
        for row in clauses_by_chat
    ]


def list_clauses(turns: Iterable[str]) -> list[str]:
    """List the clauses of a user's turns as a limit reads them (`to_question_form`), without
    repetition.
    """
    forms = (to_question_form(clause) for turn in turns for clause in split_clauses(turn))
    return list(dict.fromkeys(filter(None, forms)))


def split_clauses(text: str) -> list[str]:
    """Split a text into its sentences and their clauses, without repetition."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[: MAX_CHARACTERS // 2]}\n{text[-MAX_CHARACTERS // 2 :]}"
    clauses = dict[str, None]()
    for sentence in filter(None, map(str.strip, _SENTENCE.split(text))):
        clauses[sentence] = None
        parts = [part.strip() for part in _CLAUSE.split(sentence)]
        clauses |= dict.fromkeys(part for part in parts if len(part.split()) >= MIN_WORDS)
    unique = list(clauses)
    return (
        unique
        if len(unique) <= MAX_CLAUSES
        else unique[: MAX_CLAUSES // 2] + unique[-MAX_CLAUSES // 2 :]
    )


def _judge(
    limit: Limit, vectors: npt.NDArray[np.float32], encoder: Encoder
) -> npt.NDArray[np.bool_]:
    """Whether each clause belongs to a limit. The examples of `subjects` are their names."""
    model = _load_model()
    examples = [text for text in limit.examples if text not in _load_model()]
    names = (
        ["danger"] if limit.name == "danger" else [name for name in limit.examples if name in model]
    )
    hits = np.zeros(len(vectors), dtype=bool)
    if limit.weights:
        weights = np.array(limit.weights, np.float32)
        hits = vectors @ weights[:-1] + weights[-1] >= 0
        names = []
    for name in names:
        hits |= (
            vectors @ model[name]["weights"] + model[name]["intercept"] >= model[name]["threshold"]
        )
    if examples:
        own = encoder.embed_layers(list_clauses(examples), LAYERS)
        size = vectors.shape[1] // len(LAYERS)
        hits |= (vectors[:, -size:] @ own[:, -size:].T >= MIN_SIMILARITY).any(axis=1)
    return hits


@cache
def _load_model() -> dict[str, Any]:
    table = json.loads(MODEL_FILE.read_text(encoding="ascii"))
    return {
        name: {**entry, "weights": np.array(entry["weights"], np.float32)}
        for name, entry in table.items()
    }
