"""An answer that is kept to a JSON schema or a regular expression, token by token, by llguidance."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray
from torch import Tensor

from etude.errors import GrammarError
from etude.types import Grammar

SPACE = r" |\n {0,16}"
"""White space between two parts: a space, or a new line and its indentation; without a limit some models write no more
than that."""


ENDINGS = {"json_schema": '"]}[{0:,', "regex": "\n0"}
"""Characters by which an answer near its length limit comes to its end soonest, the first that is allowed."""
LAST = 96
"""Tokens before the length limit from which on it is looked how many the end takes."""
SPARE = 8
"""Tokens that may be left when the end begins: what is written between two looks can make it longer."""


class KeptForm:
    """Which tokens an answer may go on with, and how it keeps its form where the length limit would cut it."""

    def __init__(self, tokenizer: Any, form: Grammar) -> None:
        """`tokenizer` is what `tokens_of` gave. Raises FormError for a form that cannot be enforced."""
        self.cut = False
        """Whether the answer was brought to its end because of the length limit."""
        self._look_at = LAST
        self._ends = [tokenizer.eos_token, *(tokenizer.tokenize_str(each)[0] for each in ENDINGS[form.kind])]
        name = "JSON schema" if form.kind == "json_schema" else "regular expression"
        try:
            self._matcher = LLMatcher(tokenizer, _grammar(form), log_level=0)
        except ValueError as error:
            raise GrammarError(f"The {name} cannot be read ({error}).") from error
        if self._matcher.is_error():
            reason = self._matcher.get_error().strip().splitlines()[0]
            raise GrammarError(f"The {name} cannot be enforced ({reason}).")

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""
        return self._matcher.is_stopped()

    def only_allowed(self, scores: Tensor, left: int) -> Tensor:
        """The scores (V) with those of all other tokens at minus infinity. The answer may have `left` more tokens; when
        it takes most of them to come to an end, only the next of these is allowed."""
        allowed = _allowed(self._matcher)[: len(scores)]
        if left <= self._look_at:
            ending = self._ending(left)
            self._look_at = (left + len(ending)) // 2
            if ending and left - len(ending) <= SPARE:
                self.cut, self._look_at, allowed = True, left - 1, np.arange(len(scores)) == ending[0]
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)

    def _ending(self, most: int) -> list[int]:
        """Tokens that bring the answer to an end: the first of the endings that is allowed, or else any token, again
        and again; no token where `most` are too few for it."""
        matcher, tokens = self._matcher.deep_copy(), list[int]()
        while len(tokens) < most and not matcher.is_stopped():
            allowed = _allowed(matcher)
            token = next((each for each in self._ends if allowed[each]), int(allowed.argmax()))
            matcher.consume_token(token)
            tokens.append(token)
        return tokens if matcher.is_stopped() else []

    def take(self, token: int) -> None:
        """Goes on behind a token that is allowed."""
        self._matcher.consume_token(token)


def _allowed(matcher: LLMatcher) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little").astype(bool)


def _grammar(form: Grammar) -> str:
    if form.kind == "regex":
        return str(LLMatcher.grammar_from_regex(form.text))
    return str(LLMatcher.grammar_from_json_schema(form.text, overrides={"whitespace_pattern": SPACE}))


def tokens_of(tokenizer: Any, vocabulary: int, ends: frozenset[int]) -> Any:
    """A tokenizer of transformers as llguidance has it, which takes about a second to make."""
    return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(ends))
