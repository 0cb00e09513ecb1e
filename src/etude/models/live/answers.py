"""Answers that are written together while others begin and end: what a server does with weights in this process.

Every step adds a token to each answer. An answer that begins is read by itself and then joins the rows of the others;
one that ends leaves them. All stand behind the same prefix, which is computed once.

Shapes: B answers, K key heads, S tokens a row holds, D size of a head, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from etude.models.batch import Engine, Rows
from etude.models.shared_prefix import Prefix
from etude.types import Completion, Model, Request, Sampling, TokenScore

if TYPE_CHECKING:
    from etude.models.live.kept_form import KeptForm

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What stands at the end of a text whose last token holds a part of a character."""


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Text of token ids."""
        ...


@dataclass
class LiveAnswer:
    """One answer while it is written."""

    tokenizer: Tokenizer
    stop: frozenset[int]
    """Tokens that end the turn."""
    prompt: Sequence[int]
    limit: int
    """At most this many answer tokens."""
    sampling: Sampling
    form: KeptForm | None = None
    """What the answer is kept to."""
    tokens: list[int] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    """Of each token, if the sampling asks for them."""
    logprob: float = 0.0
    given: str = ""
    """The text that `piece` has returned so far."""
    cut_at: int | None = None
    """Where in the text a stop sequence begins."""
    random: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        if self.sampling.seed is None:
            self.random.seed()
        else:
            self.random.manual_seed(self.sampling.seed)

    @property
    def ended(self) -> bool:
        """Whether the turn has ended, a stop sequence was written, or the limit is reached."""
        return self.cut_at is not None or len(self.tokens) >= self.limit or self._stopped

    @property
    def _stopped(self) -> bool:
        ended = self.form is not None and self.form.ended
        return ended or (bool(self.tokens) and self.tokens[-1] in self.stop)

    def add(self, scores: Tensor, likeliest: int) -> None:
        """Adds the next token, by the log-probabilities (V) of all and the likeliest of them."""
        if self.form:
            scores = self.form.only_allowed(scores, self.limit - len(self.tokens)).log_softmax(dim=-1)
            likeliest = int(scores.argmax())
        token = likeliest if self.sampling.temperature == 0 else self._drawn(scores)
        if self.form:
            self.form.take(token)
        score = float(scores[token])
        self.tokens.append(token)
        self.logprob += score
        if (number := self.sampling.top_logprobs) is not None:
            values, tokens = scores.topk(number)
            likely = zip(tokens.tolist(), values.tolist(), strict=True)
            named = tuple((self.token_text(each), value) for each, value in likely if math.isfinite(value))
            self.scores.append(TokenScore(self.token_text(token), score, named))
        if self.sampling.stop:
            text = self._text(self.tokens)
            self.cut_at = min((at for at in map(text.find, self.sampling.stop) if at >= 0), default=None)

    def piece(self) -> str:
        """Text that has come to be certain since the last call: no part of a character or of a stop sequence, and no
        white space around the answer."""
        text = self._text(self.tokens)[: self.cut_at]
        if not self.ended:
            if text.endswith(UNFINISHED):
                return ""
            held = max((len(stop) for stop in self.sampling.stop), default=1) - 1
            text = text[: max(0, len(text) - held)]
        new = text.strip()[len(self.given) :]
        self.given += new
        return new

    def completion(self, cached: int, seconds: float) -> Completion:
        """The whole answer, `cached` tokens of its prompt having been computed before."""
        text = self._text(self.tokens)[: self.cut_at]
        whole = self._stopped and not (self.form and self.form.cut)
        finish: Literal["stop", "length"] = "stop" if self.cut_at is not None or whole else "length"
        return Completion(text, finish, len(self.prompt), cached, len(self.tokens), seconds, self.logprob)

    def token_text(self, token: int) -> str:
        """One token as a text."""
        return self._text([token])

    def _drawn(self, scores: Tensor) -> int:
        """A token by chance, from the likeliest that together have the probability `top_p`."""
        chances, order = (scores / self.sampling.temperature).softmax(dim=-1).sort(descending=True)
        kept = chances.cumsum(0) - chances < self.sampling.top_p
        kept[0] = True
        place = torch.multinomial((chances * kept).cpu(), 1, generator=self.random)
        return int(order[int(place)])

    def _text(self, tokens: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


class LiveBatch:
    """Answers behind one prefix, which begin and end at any time."""

    def __init__(self, engine: Engine, prefix: Prefix | None = None) -> None:
        self.engine, self.prefix = engine, prefix
        self.answers: list[LiveAnswer] = []
        self._rows: Rows | None = None
        self._logits: Tensor | None = None

    @property
    def can_join(self) -> bool:
        """Whether answers may begin now. Where a model's cache cannot be joined, only an empty batch takes them."""
        return self.engine.shares or not self.answers

    def join(self, answers: Sequence[LiveAnswer]) -> None:
        """Reads the prompts of answers that begin."""
        begin = self.prefix.length if self.prefix else 0
        rows = Rows(self.engine, self.prefix, len(answers))
        logits = rows.read([list(answer.prompt[begin:]) for answer in answers])[:, -1]
        if self._rows is None or self._logits is None:
            self._rows, self._logits = rows, logits
        else:
            self._rows.join(rows)
            self._logits = torch.cat([self._logits, logits])
        self.answers += answers

    def step(self) -> list[LiveAnswer]:
        """Adds a token to every answer and returns those that have one more, the ended ones among them."""
        written = self.answers
        assert self._logits is not None, "a step follows a join"
        scores = self._logits.float().log_softmax(dim=-1)
        for answer, row, likeliest in zip(written, scores, scores.argmax(dim=-1).tolist(), strict=True):
            answer.add(row, likeliest)
        self.keep([answer for answer in written if not answer.ended])
        if self._rows is not None:
            self._logits = self._rows.read([answer.tokens[-1:] for answer in self.answers])[:, -1]
        return written

    def keep(self, answers: Sequence[LiveAnswer]) -> None:
        """Lets go of all other answers."""
        kept = [row for row, answer in enumerate(self.answers) if any(answer is one for one in answers)]
        if len(kept) == len(self.answers):
            return
        self.answers = [self.answers[row] for row in kept]
        if not kept:
            self._rows = self._logits = None
        elif self._rows is not None and self._logits is not None:
            self._rows.select(kept)
            self._logits = self._logits[kept]


class LiveModel(Model, Protocol):
    """A Model that writes many answers at once."""

    def live_answer(self, request: Request, sampling: Sampling) -> LiveAnswer:
        """An answer that can join a `live_batch`. Raises ModelError when the request and its answer do not fit."""
        ...

    def live_batch(self, prefix: Sequence[int] = ()) -> LiveBatch:
        """Answers that are written together, whose prompts all begin with the tokens of `prefix`."""
        ...


class ConcurrentModel(Model, Protocol):
    """A Model that answers several threads at once."""

    def write(
        self, request: Request, sampling: Sampling, on_piece: Callable[[str], bool]
    ) -> tuple[Completion, Sequence[TokenScore]]:
        """Answers one request. `on_piece` gets each new piece, and ends the answer by returning True."""
        ...
