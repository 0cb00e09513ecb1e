"""Decoding constrained to a JSON schema or a regular expression, token by token, by llguidance."""

import json
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray
from torch import Tensor

from etude.errors import GrammarError
from etude.models.grammars import compile_grammar
from etude.types import Grammar

# Characters that end an answer as soon as possible; the first allowed one is used.
ENDING_CHARACTERS = {"json_schema": '"]}[{0:,', "regex": "\n0"}
# The length of the ending is checked when fewer tokens than this remain before the length limit.
ENDING_TOKENS = 96
# The ending begins when at most this many tokens would remain after it. Text between two checks can
# make it longer.
SPARE_TOKENS = 8


class GrammarMatcher:
    """The tokens that the grammar allows next in one answer, and a valid ending before the length
    limit.
    """

    def __init__(self, tokenizer: Any, grammar: Grammar) -> None:
        """`tokenizer` is from `build_tokenizer`. Raises GrammarError for a grammar that cannot be
        enforced.
        """
        self.is_cut = False
        """Whether the length limit ended the answer."""
        self._next_check = ENDING_TOKENS
        characters = ENDING_CHARACTERS[grammar.kind]
        self._ending_tokens = [
            tokenizer.eos_token,
            *(tokenizer.tokenize_str(character)[0] for character in characters),
        ]
        self._matcher = LLMatcher(tokenizer, json.dumps(compile_grammar(grammar)), log_level=0)
        if self._matcher.is_error():
            reason = self._matcher.get_error().strip().splitlines()[0]
            raise GrammarError(
                f"The {grammar.kind.replace('_', ' ')} cannot be enforced ({reason})."
            )

    @property
    def is_finished(self) -> bool:
        return self._matcher.is_stopped()

    def mask_logits(self, logits: Tensor, num_remaining: int) -> Tensor:
        """Set the logits (V) of all forbidden tokens to minus infinity.

        The answer may have `num_remaining` more tokens; if its ending needs almost all, only the
        ending is allowed.
        """
        allowed = _read_allowed(self._matcher)[: len(logits)]
        if num_remaining <= self._next_check:
            ending = self._find_ending(num_remaining)
            # check again after half of the spare tokens, so checks are rare
            self._next_check = (num_remaining + len(ending)) // 2
            if ending and num_remaining - len(ending) <= SPARE_TOKENS:
                self.is_cut = True
                self._next_check = num_remaining - 1
                allowed = np.arange(len(logits)) == ending[0]
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Continue after an allowed token."""
        self._matcher.consume_token(token)

    def _find_ending(self, max_tokens: int) -> list[int]:
        """Find tokens that end the answer; empty if they need more than `max_tokens`."""
        matcher = self._matcher.deep_copy()
        ending = list[int]()
        while len(ending) < max_tokens and not matcher.is_stopped():
            allowed = _read_allowed(matcher)
            token = next(
                (token for token in self._ending_tokens if allowed[token]), int(allowed.argmax())
            )
            matcher.consume_token(token)
            ending.append(token)
        return ending if matcher.is_stopped() else []


def _read_allowed(matcher: LLMatcher) -> NDArray[np.bool_]:
    return np.unpackbits(
        np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little"
    ).astype(bool)


def build_tokenizer(tokenizer: Any, vocabulary: int, end_tokens: frozenset[int]) -> Any:
    """Convert a transformers tokenizer for llguidance, which takes about a second."""
    return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(end_tokens))
