"""The only generation loop: every step adds one token to each answer, and answers begin and end at
any time.

The prompt of a new answer is read alone; then the answer joins the batch, which it leaves at its
end. All answers of a batch follow the same prefix, which is computed once. A measurement starts a
whole batch at once; in a server, answers begin and end at any step.

Shapes: B answers, K key heads, S tokens in a row of the cache, D size of a head, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from etude.errors import ModelError
from etude.models.local.batch import BatchState, CausalModel
from etude.models.local.shared_prefix import Prefix
from etude.types import Completion, Sampling, TokenScore

if TYPE_CHECKING:
    from etude.models.local.grammar import GrammarMatcher

GREEDY = Sampling()
MIN_TEMPERATURE = (
    1e-6  # below this, log-probabilities divided by the temperature are not finite in fp32
)
# The end of a decoded text whose last token contains only part of a character.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Decoder(Protocol):
    """The part of a transformers tokenizer that is used here."""

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Convert token ids to text."""
        ...


@dataclass(eq=False)
class Generation:
    """One answer while it is generated."""

    tokenizer: Decoder
    end_tokens: frozenset[int]
    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling = GREEDY
    grammar: "GrammarMatcher | None" = None
    tokens: list[int] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    """One for each token if the sampling asks for them."""
    logprob: float = 0.0
    min_logprob: float = 0.0
    stop_at: int | None = None
    """Position in the text where a stop sequence begins."""
    error: Exception | None = None
    """The error with which the answer failed."""
    _sent: str = ""
    """The text that `read_piece` has returned so far."""
    _random: torch.Generator | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the turn has ended, a stop sequence was generated, the length limit is reached,
        or it failed.
        """
        return (
            self.error is not None
            or self.stop_at is not None
            or len(self.tokens) >= self.max_tokens
            or self._has_stopped
        )

    @property
    def _has_stopped(self) -> bool:
        is_complete = self.grammar is not None and self.grammar.is_finished
        return is_complete or (bool(self.tokens) and self.tokens[-1] in self.end_tokens)

    def mask_logits(self, logits: Tensor) -> Tensor:
        """Mask the logits (V) of tokens that the grammar forbids. An exception becomes this
        answer's error.
        """
        if self.grammar is None:
            return logits
        try:
            return self.grammar.mask_logits(logits, self.max_tokens - len(self.tokens))
        except Exception as error:  # noqa: BLE001 - the other answers of the batch go on
            self.error = error
            return logits

    def extend(self, logprobs: Tensor, token: int, logprob: float) -> None:
        """Add the likeliest token, or a token sampled from logprobs (V). An exception becomes this
        answer's error.
        """
        if self.error is not None:
            return
        try:
            if self.sampling.temperature:
                token = self.sample(logprobs)
                logprob = float(logprobs[token])
            if not math.isfinite(logprob):
                raise ModelError(
                    "The model computed NaN or infinite values. Load its weights in float32, or "
                    "download them again."
                )
            self.add(token, logprob)
            if self.sampling.top_logprobs is not None:
                self.add_score(logprobs, self.sampling.top_logprobs)
        except Exception as error:  # noqa: BLE001 - the other answers of the batch go on
            self.error = error

    def sample(self, logprobs: Tensor) -> int:
        """Sample a token from logprobs (V), among the likeliest tokens that together have the
        probability `top_p`.
        """
        if self._random is None:
            self._random = torch.Generator()
            _ = (
                self._random.seed()
                if self.sampling.seed is None
                else self._random.manual_seed(self.sampling.seed)
            )
        scaled = logprobs / max(self.sampling.temperature, MIN_TEMPERATURE)
        probabilities, order = scaled.softmax(dim=-1).sort(descending=True)
        is_likely = probabilities.cumsum(0) - probabilities < self.sampling.top_p
        is_likely[0] = True
        position = torch.multinomial((probabilities * is_likely).cpu(), 1, generator=self._random)
        return int(order[int(position)])

    def add(self, token: int, logprob: float) -> None:
        """Add the next token."""
        if self.grammar:
            self.grammar.accept(token)
        self.tokens.append(token)
        self.logprob += logprob
        self.min_logprob = min(self.min_logprob, logprob)
        if self.sampling.stop:
            text = self._decode(self.tokens)
            self.stop_at = min(
                (at for at in map(text.find, self.sampling.stop) if at >= 0), default=None
            )

    def add_score(self, logprobs: Tensor, num_likeliest: int) -> None:
        """Record the log-probability of the last token and of the likeliest tokens, from logprobs
        (V).
        """
        values, tokens = logprobs.topk(num_likeliest)
        likeliest = zip(tokens.tolist(), values.tolist(), strict=True)
        named = tuple(
            (self._decode([token]), value) for token, value in likeliest if math.isfinite(value)
        )
        self.scores.append(
            TokenScore(self._decode(self.tokens[-1:]), float(logprobs[self.tokens[-1]]), named)
        )

    def read_piece(self, strip: bool = True) -> str:
        """Return the text that became final since the last call. `strip` removes white space around
        the answer.

        A piece never contains part of a character or of a stop sequence.
        """
        text = self._decode(self.tokens)[: self.stop_at]
        if not self.is_finished:
            if text.endswith(REPLACEMENT):
                return ""
            num_uncertain = max((len(stop) for stop in self.sampling.stop), default=1) - 1
            text = text[: max(0, len(text) - num_uncertain)]
        piece = (text.strip() if strip else text)[len(self._sent) :]
        self._sent += piece
        return piece

    def to_completion(self, cached_tokens: int, seconds: float) -> Completion:
        """Build the completion; `cached_tokens`: how many tokens of its prompt the prefix has.
        Raises its error.
        """
        if self.error is not None:
            raise self.error
        text = self._decode(self.tokens)[: self.stop_at]
        is_complete = self._has_stopped and not (self.grammar and self.grammar.is_cut)
        finish: Literal["stop", "length"] = (
            "stop" if self.stop_at is not None or is_complete else "length"
        )
        return Completion(
            text=text,
            finish=finish,
            prompt_tokens=len(self.prompt),
            cached_tokens=cached_tokens,
            answer_tokens=len(self.tokens),
            seconds=seconds,
            logprob=self.logprob,
            min_logprob=self.min_logprob,
        )

    def _decode(self, tokens: Sequence[int]) -> str:
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return str(self.tokenizer.decode(tokens, **options))


class PromptReading:
    """The prompts of new answers, which may be read in pieces before the answers join their
    batch.
    """

    def __init__(self, batch: "GenerationBatch", generations: Sequence[Generation]) -> None:
        self.batch = batch
        self.generations = generations
        begin = batch.prefix.length if batch.prefix else 0
        self._rows = [list(generation.prompt[begin:]) for generation in generations]
        self._longest = max(map(len, self._rows))
        self.num_left = self._longest
        """Tokens of the longest prompt that are not read."""
        self._state = BatchState(batch.model, batch.prefix, len(generations))

    def read(self, max_tokens: int | None = None) -> bool:
        """Read on: `max_tokens` in all prompts together if a prompt is longer and the model can
        stop there, otherwise all. After the last token, the answers join their batch, and the
        result is True.
        """
        width = self.num_left
        if max_tokens and self._longest > max_tokens and self.batch.model.can_share:
            width = min(width, max(1, max_tokens // len(self._rows)))
        left = self.num_left - width
        pieces = [
            row[max(0, len(row) - self.num_left) : max(0, len(row) - left)] for row in self._rows
        ]
        logits = self._state.read(pieces)[:, -1]
        self.num_left = left
        if not left:
            self.batch.add(self.generations, self._state, logits)
        return not left


class GenerationBatch:
    """Answers that follow one prefix and begin and end at any time."""

    def __init__(self, model: CausalModel, prefix: Prefix | None = None) -> None:
        self.model = model
        self.prefix = prefix
        self.generations: list[Generation] = []
        self._state: BatchState | None = None
        self._logits: Tensor | None = None
        """(B, V): the logits after the last token of each answer."""

    @property
    def can_join(self) -> bool:
        """Whether answers may begin now. If the model's cache cannot be extended by rows, the batch
        must be empty.
        """
        return self.model.can_share or not self.generations

    def create_empty(self) -> "GenerationBatch":
        """Create an empty batch that follows the same prefix, which is not computed again."""
        return GenerationBatch(self.model, self.prefix)

    def join(self, generations: Sequence[Generation]) -> None:
        """Read the prompts of new answers and add them to the batch."""
        PromptReading(self, generations).read()

    def add(self, generations: Sequence[Generation], state: BatchState, logits: Tensor) -> None:
        """Add answers whose prompts are read in `state`, with the logits (B, V) after them."""
        if self._state is None or self._logits is None:
            self._state = state
            self._logits = logits
        else:
            self._state.join(state)
            self._logits = torch.cat([self._logits, logits])
        self.generations += generations

    def step(self) -> list[Generation]:
        """Add a token to every answer. Return all answers, including those that are now
        finished.
        """
        generations = self.generations
        logits = self._logits
        assert logits is not None, "a step follows a join"
        # 1. Compute log-probabilities in fp32 over the tokens that each grammar allows.
        logits = logits.float()
        if any(generation.grammar for generation in generations):
            pairs = zip(generations, logits, strict=True)
            logits = torch.stack([generation.mask_logits(row) for generation, row in pairs])
        logprobs = logits.log_softmax(dim=-1)
        # 2. Choose the likeliest token of each answer, or sample one; two transfers for the whole
        # batch.
        best, tokens = (values.tolist() for values in logprobs.max(dim=-1))
        for row, generation in enumerate(generations):
            generation.extend(logprobs[row], tokens[row], best[row])
        # 3. Remove finished answers; the others read their new token.
        self.keep([generation for generation in generations if not generation.is_finished])
        if self._state is not None:
            new_tokens = [generation.tokens[-1:] for generation in self.generations]
            self._logits = self._state.read(new_tokens)[:, -1]
        return generations

    def keep(self, generations: Sequence[Generation]) -> None:
        """Keep only these answers."""
        rows = [row for row, generation in enumerate(self.generations) if generation in generations]
        if len(rows) == len(self.generations):
            return
        self.generations = [self.generations[row] for row in rows]
        if not rows:
            self._state = self._logits = None
        elif self._state is not None and self._logits is not None:
            self._state.select(rows)
            self._logits = self._logits[rows]
