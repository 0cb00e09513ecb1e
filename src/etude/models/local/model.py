"""A Model on this machine: transformers weights with greedy decoding in batches.

For each list of requests, the tokens that all prompts begin with are computed once (separately for
prompts from which examples were left out), batches are planned from the whole list, and a row
leaves its batch when its answer ends. Log-probabilities are summed in fp32.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from etude.models.backend import MAX_TOKENS, check_length, count_shared_tokens, plan_batches
from etude.models.local.batch import BatchState, CausalModel
from etude.models.local.choices import Trie, build_trie
from etude.models.local.generation import GREEDY, Generation, GenerationBatch
from etude.models.local.shared_prefix import Prefix
from etude.render import end_of_turn, render, render_answer, render_text
from etude.types import Batch, Completion, Grammar, Message, Request, Sampling

# Tokens of a batch if logits are stored at many positions: for given answers and trees of choices.
MAX_SCORED_TOKENS = 2048
# Query heads x new tokens x attended tokens of one batch: 200 MB of attention weights in fp32.
MAX_ATTENTION_CELLS = 48_000_000
MAX_TRIES = 64  # Sets of choices whose trees are cached


class LocalModel:
    """A Model whose weights are in this process.

    `module` is the transformers model in evaluation mode and `tokenizer` its tokenizer, both read
    from `folder`; fine-tuning also uses them.
    """

    def __init__(self, name: str, module: Any, tokenizer: Any, folder: Path | None = None) -> None:
        self.name = name
        self.folder = folder
        self.module = module
        self.tokenizer = tokenizer
        self.context = int(getattr(module.config, "max_position_embeddings", 2048))
        """The largest number of tokens of a prompt and its answer together."""
        ends = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
        ends = ends if isinstance(ends, list) else [ends]
        self.end_tokens = frozenset(
            {end_of_turn(tokenizer), tokenizer.eos_token_id, *ends} - {None}
        )
        pad = tokenizer.pad_token_id
        self._causal = CausalModel(module, tokenizer.eos_token_id if pad is None else pad)
        self._grammar_tokenizer: Any = None
        self._tries: dict[tuple[str, ...], tuple[Trie, tuple[int, ...]]] = {}

    def render_text(self, messages: Sequence[Message]) -> str:
        """Render the prompt as the model reads it."""
        return render_text(self.tokenizer, messages)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count the tokens of the prompt."""
        return len(render(self.tokenizer, messages))

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Answer the whole list batch by batch; see Model.

        Raises ModelError if a request and its answer do not fit the context.
        """
        prompts = [render(self.tokenizer, request.messages) for request in requests]
        self._check_lengths(prompts, [request.max_tokens for request in requests])
        # Requests are grouped by their shots, so a long row with fewer shots does not shorten the
        # prefix of the others.
        groups: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(request.shots_dropped, []).append(index)
        first = 0
        for _, group in sorted(groups.items()):
            shared, plan = self._plan(
                [prompts[index] for index in group], [requests[index] for index in group]
            )
            batches = {
                number: [group[row] for row in rows]
                for number, rows in enumerate(plan, start=first)
                if number not in done
            }
            first += len(plan)
            if batches:
                yield from self._answer_batches(requests, prompts, shared, batches, len(group))

    def _answer_batches(
        self,
        requests: Sequence[Request],
        prompts: Sequence[list[int]],
        shared: int,
        batches: Mapping[int, Sequence[int]],
        num_sharing: int,
    ) -> Iterator[Batch]:
        """Answer the numbered batches. The first `shared` tokens are the same in `num_sharing`
        requests.
        """
        started = time.perf_counter()
        prefix = self._causal.compute_prefix(prompts[next(iter(batches.values()))[0]][:shared])
        prefix_seconds = (time.perf_counter() - started) / num_sharing
        for number, indices in batches.items():
            started = time.perf_counter()
            completions = self._answer(
                prefix,
                [prompts[index] for index in indices],
                [requests[index] for index in indices],
            )
            seconds = prefix_seconds + (time.perf_counter() - started) / len(indices)
            timed = tuple(replace(completion, seconds=seconds) for completion in completions)
            yield Batch(number, tuple(indices), timed)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer in the order of the requests."""
        completions = {
            index: completion
            for batch in self.batches(requests)
            for index, completion in zip(batch.indices, batch.completions, strict=True)
        }
        return [completions[index] for index in range(len(requests))]

    def stream(self, request: Request) -> Iterator[str]:
        """Answer piece by piece; a piece never ends within a character."""
        if request.choices:
            yield self.generate([request])[0].text
            return
        generation = self.create_generation(request)
        batch = self.create_batch()
        batch.join([generation])
        while batch.generations:
            batch.step()
            if piece := generation.read_piece(strip=False):
                yield piece
        if generation.error is not None:
            raise generation.error

    def create_generation(self, request: Request, sampling: Sampling = GREEDY) -> Generation:
        """Create an answer that can join a batch. Raises ModelError if the request and its answer
        do not fit.
        """
        prompt = render(self.tokenizer, request.messages)
        self._check_lengths([prompt], [request.max_tokens])
        return self._create_generation(prompt, request, sampling)

    def _create_generation(
        self, prompt: Sequence[int], request: Request, sampling: Sampling = GREEDY
    ) -> Generation:
        grammar = (
            Grammar("json_schema", sampling.json_schema)
            if sampling.json_schema
            else request.grammar
        )
        matcher = None
        if grammar:
            from etude.models.local.grammar import GrammarMatcher, build_tokenizer

            if self._grammar_tokenizer is None:
                vocabulary = self.module.get_output_embeddings().weight.shape[0]
                self._grammar_tokenizer = build_tokenizer(
                    self.tokenizer, vocabulary, self.end_tokens
                )
            matcher = GrammarMatcher(self._grammar_tokenizer, grammar)
        return Generation(
            self.tokenizer, self.end_tokens, prompt, request.max_tokens, sampling, matcher
        )

    def create_batch(self, prefix: Sequence[int] = ()) -> GenerationBatch:
        """Create an empty batch of answers whose prompts all begin with the tokens of `prefix`."""
        shares = self._causal.can_share
        return GenerationBatch(
            self._causal, self._causal.compute_prefix(prefix) if shares else None
        )

    def score(self, requests: Sequence[Request], completions: Sequence[str]) -> list[list[float]]:
        """Compute the log-probabilities of given answers: one for each token and the end of
        turn.
        """
        prompts = [render(self.tokenizer, request.messages) for request in requests]
        answers = [render_answer(self.tokenizer, text) for text in completions]
        self._check_lengths(prompts, [len(answer) for answer in answers])
        shared = count_shared_tokens(prompts) if self._causal.can_share else 0
        lengths = [
            len(prompt) - shared + len(answer)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        prefix = self._causal.compute_prefix(prompts[0][:shared]) if prompts else None
        scores: list[list[float]] = [[] for _ in prompts]
        max_tokens = self._limit_tokens(shared, lengths, MAX_SCORED_TOKENS)
        for indices in plan_batches(lengths, max_tokens=max_tokens):
            state = BatchState(self._causal, prefix, len(indices))
            keep = 1 + max(len(answers[index]) for index in indices)
            logits = state.read(
                [prompts[index][shared:] + answers[index] for index in indices], keep
            )
            for row, index in enumerate(indices):
                # the position before a token predicts it
                answer = torch.tensor(answers[index], device=logits.device)
                logprobs = logits[row, -1 - len(answer) : -1].float().log_softmax(dim=-1)
                scores[index] = logprobs.gather(1, answer[:, None])[:, 0].tolist()
        return scores

    def _plan(
        self, prompts: Sequence[list[int]], requests: Sequence[Request]
    ) -> tuple[int, list[tuple[int, ...]]]:
        shared = count_shared_tokens(prompts) if self._causal.can_share else 0
        tree_sizes = [
            len(self._get_trie(request.choices)[0].tokens) if request.choices else 0
            for request in requests
        ]
        lengths = [
            len(prompt) - shared + size for prompt, size in zip(prompts, tree_sizes, strict=True)
        ]
        max_tokens = self._limit_tokens(
            shared, lengths, MAX_SCORED_TOKENS if any(tree_sizes) else MAX_TOKENS
        )
        kinds = [request.choices for request in requests]
        return shared, plan_batches(lengths, kinds, max_tokens=max_tokens)

    def _limit_tokens(self, shared: int, lengths: Sequence[int], limit: int) -> int:
        # limit the memory of attention weights with a long prefix
        heads: int = self.module.config.num_attention_heads
        return min(
            limit, max(1, MAX_ATTENTION_CELLS // (heads * (shared + max(lengths, default=0) + 1)))
        )

    def _check_lengths(self, prompts: Sequence[list[int]], answer_lengths: Sequence[int]) -> None:
        for number, (prompt, length) in enumerate(zip(prompts, answer_lengths, strict=True)):
            check_length(self, f"Request {number}", len(prompt), length)

    def _answer(
        self, prefix: Prefix | None, prompts: Sequence[list[int]], requests: Sequence[Request]
    ) -> list[Completion]:
        """Answer one batch, whose prompts begin with `prefix`. Completions have 0 seconds."""
        shared = prefix.length if prefix else 0
        if requests[0].choices:
            return self._choose(prefix, prompts, requests[0].choices)
        batch = GenerationBatch(self._causal, prefix)
        generations = [
            self._create_generation(prompt, request, request.sampling or GREEDY)
            for prompt, request in zip(prompts, requests, strict=True)
        ]
        batch.join(generations)
        while batch.generations:
            batch.step()
        return [generation.to_completion(shared, 0.0) for generation in generations]

    def _choose(
        self, prefix: Prefix | None, prompts: Sequence[list[int]], choices: tuple[str, ...]
    ) -> list[Completion]:
        trie, lengths = self._get_trie(choices)
        shared = prefix.length if prefix else 0
        if self._causal.can_share:
            logits = self._read_tree(trie, prefix, [prompt[shared:] for prompt in prompts])
        else:
            logits = torch.stack([self._read_branches(trie, prompt) for prompt in prompts])
        scores = _score_choices(trie, logits, len(choices))
        best, picks = scores.max(dim=-1)
        return [
            Completion(
                *(choices[pick], "stop", len(prompt), shared, lengths[pick], 0.0, logprob),
                choice_logprobs=dict(zip(choices, row, strict=True)),
            )
            for prompt, pick, logprob, row in zip(
                prompts, picks.tolist(), best.tolist(), scores.tolist(), strict=True
            )
        ]

    def _read_tree(self, trie: Trie, prefix: Prefix | None, tails: Sequence[list[int]]) -> Tensor:
        """Compute logits (B, positions, V) at the end of the prompt and after every token of the
        tree.
        """
        state = BatchState(self._causal, prefix, len(tails))
        logits = state.read(tails)
        if not trie.tokens:
            return logits
        ancestors = torch.tensor(trie.list_ancestors())
        depths = torch.tensor(trie.list_depths())
        tree_logits = state.read_tree(torch.tensor(trie.tokens), ancestors, depths)
        return torch.cat([logits, tree_logits], dim=1)

    def _read_branches(self, trie: Trie, prompt: list[int]) -> Tensor:
        """Compute `_read_tree` for one row of a model that cannot read a tree: one branch after
        another.
        """
        branches = trie.list_branches()
        sequences = [
            prompt + [trie.tokens[position - 1] for position in branch if position]
            for branch in branches
        ]
        state = BatchState(self._causal, None, len(sequences))
        branch_logits = state.read(sequences, keep=max(map(len, branches)))
        logits = branch_logits.new_empty(len(trie.tokens) + 1, branch_logits.shape[-1])
        for row, branch in enumerate(branches):
            logits[list(branch)] = branch_logits[row, -len(branch) :]
        return logits

    def _get_trie(self, choices: tuple[str, ...]) -> tuple[Trie, tuple[int, ...]]:
        """Return the tree of the choices and the number of tokens of each choice. Each tree is
        built once.
        """
        # lru_cache would make a reference cycle, which keeps the weights until the garbage
        # collector runs
        if choices not in self._tries:
            if len(self._tries) == MAX_TRIES:
                del self._tries[next(iter(self._tries))]
            sequences = [render_answer(self.tokenizer, choice) for choice in choices]
            self._tries[choices] = build_trie(sequences), tuple(map(len, sequences))
        return self._tries[choices]


def _score_choices(trie: Trie, logits: Tensor, num_choices: int) -> Tensor:
    """Compute the log-probability of each choice among the choices, (B, choices), from logits (B,
    positions, V).
    """
    scores = torch.zeros(len(logits), num_choices)
    for fork in trie.forks:
        logprobs = logits[:, fork.position, list(fork.tokens)].float().log_softmax(dim=-1).cpu()
        for column, choices in enumerate(fork.choices):
            scores[:, list(choices)] += logprobs[:, column, None]
    return scores
