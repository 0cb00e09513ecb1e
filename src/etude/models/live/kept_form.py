"""An answer that is kept to a JSON schema or a regular expression, token by token, by llguidance."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from torch import Tensor

from etude.errors import FormError
from etude.types import Form

SPACE = r" |\n {0,16}"
"""White space between two parts: a space, or a new line and its indentation; without a limit some models write no more
than that."""


class KeptForm:
    """Which tokens an answer may go on with."""

    def __init__(self, tokenizer: Any, form: Form) -> None:
        """`tokenizer` is what `tokens_of` gave. Raises FormError for a form that cannot be enforced."""
        name = "JSON schema" if form.kind == "json_schema" else "regular expression"
        try:
            self._matcher = LLMatcher(tokenizer, _grammar(form), log_level=0)
        except ValueError as error:
            raise FormError(f"The {name} cannot be read ({error}).") from error
        if self._matcher.is_error():
            reason = self._matcher.get_error().strip().splitlines()[0]
            raise FormError(f"The {name} cannot be enforced ({reason}).")

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""
        return self._matcher.is_stopped()

    def only_allowed(self, scores: Tensor) -> Tensor:
        """The scores (V) with those of all other tokens at minus infinity."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = torch.from_numpy(bits[: len(scores)].astype(bool)).to(scores.device)
        return scores.masked_fill(~allowed, -torch.inf)

    def take(self, token: int) -> None:
        """Goes on behind a token that is allowed."""
        self._matcher.consume_token(token)


def _grammar(form: Form) -> str:
    if form.kind == "regex":
        return str(LLMatcher.grammar_from_regex(form.text))
    return str(LLMatcher.grammar_from_json_schema(form.text, overrides={"whitespace_pattern": SPACE}))


def tokens_of(tokenizer: Any, vocabulary: int, ends: frozenset[int]) -> Any:
    """A tokenizer of transformers as llguidance has it, which takes about a second to make."""
    return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(ends))
