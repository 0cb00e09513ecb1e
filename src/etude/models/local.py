"""A Model on this machine: transformers weights, answered greedily in batches.

Per list of requests: the tokens that all prompts begin with are computed once (apart for prompts from
which examples were left out), batches are fixed from the whole list, rows leave a batch when they have
ended. Log-probabilities are summed in fp32.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from etude.errors import ModelError
from etude.models.batch import Engine, Rows
from etude.models.batch_plan import MAX_TOKENS, plan_batches, shared_prefix
from etude.models.choices import Trie, build_trie
from etude.models.live.answers import LiveAnswer, LiveBatch
from etude.models.shared_prefix import Prefix
from etude.render import end_of_turn, render, render_answer, render_text
from etude.types import Batch, Completion, Grammar, Message, Request, Sampling

if TYPE_CHECKING:
    from etude.models.live.kept_form import KeptForm

SCORED_TOKENS = 2048
"""Tokens of a batch whose logits are held at many places at once: given answers, trees of choices."""
ATTENTION_CELLS = 48_000_000
"""Query heads x new tokens x tokens seen in one batch: 200 MB of attention weights in fp32."""
MOST_TRIES = 64
"""Sets of choices whose trees are kept."""

Finish = Literal["stop", "length"]


class Written(NamedTuple):
    """What was written behind one prompt."""

    text: str
    finish: Finish
    num_tokens: int
    logprob: float


@dataclass(slots=True)
class Draft:
    """An answer while it is written."""

    limit: int
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    form: KeptForm | None = None

    def kept(self, scores: Tensor) -> Tensor:
        """The scores (V) of the next token, by its form."""
        return scores if self.form is None else self.form.only_allowed(scores, self.limit - len(self.tokens))

    def stopped(self, stop: frozenset[int]) -> bool:
        """Whether the last token ends the turn, or nothing may follow it."""
        return (bool(self.tokens) and self.tokens[-1] in stop) or (self.form is not None and self.form.ended)

    def ended(self, stop: frozenset[int]) -> bool:
        """Whether the answer has stopped or the length limit is reached."""
        return len(self.tokens) >= self.limit or self.stopped(stop)


class LocalModel:
    """A Model whose weights are in this process. `module` is the transformers model, in evaluation mode,
    `tokenizer` its tokenizer; fine-tuning reads both. `folder` is where both were read from."""

    def __init__(self, name: str, module: Any, tokenizer: Any, folder: Path | None = None) -> None:
        self.name = name
        self.folder = folder
        self.module = module
        self.tokenizer = tokenizer
        self.context = int(getattr(module.config, "max_position_embeddings", 2048))
        """Tokens that a prompt and its answer may have together."""
        self.stop = frozenset({end_of_turn(tokenizer), tokenizer.eos_token_id, *_own_ends(module)} - {None})
        pad = tokenizer.pad_token_id
        self._engine = Engine(module, tokenizer.eos_token_id if pad is None else pad)
        self._guided: Any = None
        self._tries: dict[tuple[str, ...], tuple[Trie, tuple[int, ...]]] = {}

    def render_text(self, messages: Sequence[Message]) -> str:
        """The prompt as the model reads it."""
        return render_text(self.tokenizer, messages)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt."""
        return len(render(self.tokenizer, messages))

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Answers the whole list batch by batch; see Model. Raises ModelError when a request and its
        answer cannot fit the context."""
        prompts = [render(self.tokenizer, request.messages) for request in requests]
        self._check_lengths(prompts, [request.max_tokens for request in requests])
        first = 0
        for group in _groups(requests):
            shared, plan = self._plan(
                [prompts[index] for index in group], [requests[index] for index in group]
            )
            batches = {
                number: [group[place] for place in places] for number, places in enumerate(plan, start=first)
            }
            first += len(plan)
            todo = {number: indices for number, indices in batches.items() if number not in done}
            if todo:
                yield from self._batches(requests, prompts, shared, todo, len(group))

    def _batches(
        self,
        requests: Sequence[Request],
        prompts: Sequence[list[int]],
        shared: int,
        todo: Mapping[int, Sequence[int]],
        num_sharing: int,
    ) -> Iterator[Batch]:
        """The numbered batches behind their first `shared` tokens, which `num_sharing` requests have in common."""
        started = time.perf_counter()
        prefix = self._engine.prefix(prompts[next(iter(todo.values()))[0]][:shared])
        prefix_seconds = (time.perf_counter() - started) / num_sharing
        for number, indices in todo.items():
            started = time.perf_counter()
            tails = [prompts[index][shared:] for index in indices]
            answers = self._answer(prefix, tails, [requests[index] for index in indices])
            seconds = prefix_seconds + (time.perf_counter() - started) / len(indices)
            completions = (
                _completion(written, len(prompts[index]), shared, seconds)
                for index, written in zip(indices, answers, strict=True)
            )
            yield Batch(number, tuple(indices), tuple(completions))

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the order of the requests."""
        answered = {
            index: completion
            for batch in self.batches(requests)
            for index, completion in zip(batch.indices, batch.completions, strict=True)
        }
        return [answered[index] for index in range(len(requests))]

    def stream(self, request: Request) -> Iterator[str]:
        """The answer piece by piece; a piece never ends within a character."""
        if request.choices:
            yield self.generate([request])[0].text
            return
        prompt = render(self.tokenizer, request.messages)
        self._check_lengths([prompt], [request.max_tokens])
        rows = Rows(self._engine, None, 1)
        draft = Draft(request.max_tokens, form=self._kept(request.grammar))
        given = ""
        for _ in self._write(rows, rows.read([prompt]), [draft]):
            text = self._text(draft.tokens)
            if not text.endswith("\N{REPLACEMENT CHARACTER}") and len(text) > len(given):
                yield text[len(given) :]
                given = text
        if rest := self._text(draft.tokens)[len(given) :]:
            yield rest

    def live_answer(self, request: Request, sampling: Sampling) -> LiveAnswer:
        """An answer that can join a `live_batch`. Raises ModelError when the request and its answer do not fit."""
        prompt = render(self.tokenizer, request.messages)
        self._check_lengths([prompt], [request.max_tokens])
        form = Grammar("json_schema", sampling.json_schema) if sampling.json_schema else request.grammar
        return LiveAnswer(self.tokenizer, self.stop, prompt, request.max_tokens, sampling, self._kept(form))

    def _kept(self, form: Grammar | None) -> KeptForm | None:
        if form is None:
            return None
        from etude.models.live.kept_form import KeptForm, tokens_of

        if self._guided is None:
            vocabulary = self.module.get_output_embeddings().weight.shape[0]
            self._guided = tokens_of(self.tokenizer, vocabulary, self.stop)
        return KeptForm(self._guided, form)

    def live_batch(self, prefix: Sequence[int] = ()) -> LiveBatch:
        """Answers that are written together, whose prompts all begin with the tokens of `prefix`."""
        return LiveBatch(self._engine, self._engine.prefix(prefix) if self._engine.shares else None)

    def score(self, requests: Sequence[Request], completions: Sequence[str]) -> list[list[float]]:
        """Log-probabilities of given answers, for each its tokens and the end of turn."""
        prompts = [render(self.tokenizer, request.messages) for request in requests]
        answers = [render_answer(self.tokenizer, text) for text in completions]
        self._check_lengths(prompts, [len(answer) for answer in answers])
        shared = shared_prefix(prompts) if self._engine.shares else 0
        lengths = [
            len(prompt) - shared + len(answer) for prompt, answer in zip(prompts, answers, strict=True)
        ]
        prefix = self._engine.prefix(prompts[0][:shared]) if prompts else None
        scores: list[list[float]] = [[] for _ in prompts]
        limit = self._token_limit(shared, lengths, SCORED_TOKENS)
        for indices in plan_batches(lengths, max_tokens=limit):
            rows = Rows(self._engine, prefix, len(indices))
            keep = 1 + max(len(answers[index]) for index in indices)
            logits = rows.read([prompts[index][shared:] + answers[index] for index in indices], keep)
            for row, index in enumerate(indices):
                scores[index] = _token_scores(logits[row, :-1], answers[index])
        return scores

    def _plan(
        self, prompts: Sequence[list[int]], requests: Sequence[Request]
    ) -> tuple[int, list[tuple[int, ...]]]:
        """How many tokens all prompts share, and the batches."""
        shared = shared_prefix(prompts) if self._engine.shares else 0
        trees = [len(self._trie(r.choices)[0].tokens) if r.choices else 0 for r in requests]
        lengths = [len(prompt) - shared + tree for prompt, tree in zip(prompts, trees, strict=True)]
        limit = self._token_limit(shared, lengths, SCORED_TOKENS if any(trees) else MAX_TOKENS)
        return shared, plan_batches(lengths, [request.choices for request in requests], max_tokens=limit)

    def _token_limit(self, shared: int, lengths: Sequence[int], most: int) -> int:
        """Tokens a batch may have so that the attention weights beside a long prefix stay small."""
        heads: int = self.module.config.num_attention_heads
        return min(most, max(1, ATTENTION_CELLS // (heads * (shared + max(lengths, default=0) + 1))))

    def _check_lengths(self, prompts: Sequence[list[int]], answers: Sequence[int]) -> None:
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            if len(prompt) + answer > self.context:
                raise ModelError(
                    f"Request {number} has {len(prompt)} tokens and may answer with {answer}; {self.name} reads "
                    f"at most {self.context}. Shorten it, give fewer examples, or lower max_tokens."
                )

    def _answer(
        self, prefix: Prefix | None, tails: Sequence[list[int]], requests: Sequence[Request]
    ) -> list[Written]:
        """Answers the prompts made of `prefix` and each of `tails`."""
        if requests[0].choices:
            return self._choose(prefix, tails, requests[0].choices)
        rows = Rows(self._engine, prefix, len(tails))
        drafts = [Draft(request.max_tokens, form=self._kept(request.grammar)) for request in requests]
        for _ in self._write(rows, rows.read(tails), drafts):
            pass
        return [self._written(draft) for draft in drafts]

    def _written(self, draft: Draft) -> Written:
        cut = draft.form is not None and draft.form.cut
        finish: Finish = "stop" if draft.stopped(self.stop) and not cut else "length"
        return Written(self._text(draft.tokens), finish, len(draft.tokens), draft.logprob)

    def _write(self, rows: Rows, logits: Tensor, drafts: Sequence[Draft]) -> Iterator[None]:
        """Adds the likeliest token to every draft that has not ended, until all have; yields a step."""
        going = list(drafts)
        while going:
            scores = logits[:, -1].float()
            if any(draft.form for draft in going):
                pairs = zip(going, scores, strict=True)
                scores = torch.stack([draft.kept(row) for draft, row in pairs])
            best, tokens = scores.log_softmax(dim=-1).max(dim=-1)
            for draft, token, logprob in zip(going, tokens.tolist(), best.tolist(), strict=True):
                draft.tokens.append(token)
                draft.logprob += logprob
                if draft.form:
                    draft.form.take(token)
            yield
            kept = [row for row, draft in enumerate(going) if not draft.ended(self.stop)]
            if kept and len(kept) < len(going):
                rows.select(kept)
            going = [going[row] for row in kept]
            if going:
                logits = rows.read([draft.tokens[-1:] for draft in going])

    def _choose(
        self, prefix: Prefix | None, tails: Sequence[list[int]], choices: tuple[str, ...]
    ) -> list[Written]:
        trie, lengths = self._trie(choices)
        if self._engine.shares:
            logits = self._read_tree(trie, prefix, tails)
        else:
            logits = torch.stack([self._read_branches(trie, tail) for tail in tails])
        best, picks = _choice_scores(trie, logits, len(choices)).max(dim=-1)
        return [
            Written(choices[pick], "stop", lengths[pick], logprob)
            for pick, logprob in zip(picks.tolist(), best.tolist(), strict=True)
        ]

    def _read_tree(self, trie: Trie, prefix: Prefix | None, tails: Sequence[list[int]]) -> Tensor:
        """Logits (B, places, V) at the end of the prompt and behind every token of the tree."""
        rows = Rows(self._engine, prefix, len(tails))
        logits = rows.read(tails)
        if not trie.tokens:
            return logits
        sees, depths = torch.tensor(trie.ancestors()), torch.tensor(trie.depths())
        return torch.cat([logits, rows.read_tree(torch.tensor(trie.tokens), sees, depths)], dim=1)

    def _read_branches(self, trie: Trie, prompt: list[int]) -> Tensor:
        """As `_read_tree` for one row of a model that cannot read a tree: each branch by itself."""
        branches = trie.branches()
        texts = [prompt + [trie.tokens[place - 1] for place in branch if place] for branch in branches]
        rows = Rows(self._engine, None, len(texts))
        logits = rows.read(texts, keep=max(map(len, branches)))
        places = logits.new_empty(len(trie.tokens) + 1, logits.shape[-1])
        for row, branch in enumerate(branches):
            places[list(branch)] = logits[row, -len(branch) :]
        return places

    def _trie(self, choices: tuple[str, ...]) -> tuple[Trie, tuple[int, ...]]:
        """The tree of the choices and the tokens of each, made once.

        `lru_cache` would hold the model in a cycle, and its weights until the garbage collector comes by.
        """
        if choices not in self._tries:
            if len(self._tries) == MOST_TRIES:
                del self._tries[next(iter(self._tries))]
            sequences = [render_answer(self.tokenizer, choice) for choice in choices]
            self._tries[choices] = build_trie(sequences), tuple(map(len, sequences))
        return self._tries[choices]

    def _text(self, tokens: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


def _groups(requests: Sequence[Request]) -> list[list[int]]:
    """Positions of requests that begin alike: one long row with fewer examples costs the others no prefix."""
    groups: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.shots_dropped, []).append(index)
    return [groups[dropped] for dropped in sorted(groups)]


def _completion(written: Written, prompt_tokens: int, cached_tokens: int, seconds: float) -> Completion:
    return Completion(
        text=written.text,
        finish=written.finish,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        answer_tokens=written.num_tokens,
        seconds=seconds,
        logprob=written.logprob,
    )


def _choice_scores(trie: Trie, logits: Tensor, num_choices: int) -> Tensor:
    """Log-probability of each choice among the choices, (B, choices), from logits (B, places, V)."""
    scores = torch.zeros(len(logits), num_choices)
    for fork in trie.forks:
        among = logits[:, fork.place, list(fork.tokens)].float().log_softmax(dim=-1).cpu()
        for column, reached in enumerate(fork.leads_to):
            scores[:, list(reached)] += among[:, column, None]
    return scores


def _token_scores(logits: Tensor, answer: Sequence[int]) -> list[float]:
    """Log-probabilities of the tokens of an answer, from logits (T, V) whose last place predicts its
    last token."""
    wanted = torch.tensor(answer, device=logits.device)
    logprobs = logits[-len(answer) :].float().log_softmax(dim=-1)
    return [float(value) for value in logprobs.gather(1, wanted[:, None])[:, 0].tolist()]


def _own_ends(module: Any) -> list[int]:
    """The tokens by which the model's own generation settings say that it ends."""
    ends = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    return ends if isinstance(ends, list) else [ends] if ends is not None else []
