"""A Model that runs GGUF weights in llama.cpp through xllamacpp. Requests are sent as token ids.

`llama_cpp:NAME` is the GGUF file that NAME means, with a tuned adapter if there is one. Several
requests are answered at once; llama.cpp's prompt cache computes their common beginning once. All
adapters share the weights of their base, and a request selects an adapter.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from xllamacpp import CommonAdapterLoraInfo, CommonParams, Server

from etude.errors import ModelError
from etude.models import backend, grammars
from etude.models.llama_cpp.gguf import find_base_file, write_adapter
from etude.models.local.loading import load_tokenizer
from etude.render import render, render_text
from etude.types import Completion, Grammar, Message, ModelRef, Request, Sampling, TokenScore

if TYPE_CHECKING:
    from etude.models.registry import Models

PREFIX = "llama_cpp:"
SLOTS = 16  # Requests that are answered at once
SLOT_TOKENS = 2_048  # Limit of the tokens of a prompt and its answer together
OnPiece = Callable[[str], bool]  # Called with each new piece of an answer; True ends it


class LlamaServer:
    """One GGUF file in llama.cpp, with adapters over it."""

    def __init__(self, weights: Path, adapters: Sequence[Path]) -> None:
        self.tokenizer = load_tokenizer(weights)
        self.adapters = list(dict.fromkeys(adapters))
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number, adapter in enumerate(self.adapters):
                files.append(adapter if adapter.is_file() else Path(folder) / f"{number}.gguf")
                if not adapter.is_file():
                    write_adapter(weights, adapter, files[-1])
            self.server = Server(_build_parameters(weights, files))

    def list_scales(self, adapter: Path | None) -> list[dict[str, float]]:
        """List the scale of every adapter for a request with `adapter`."""
        # list all adapters: the cache may contain the prompt of an adapter that is not listed
        return [
            {"id": number, "scale": float(other == adapter)}
            for number, other in enumerate(self.adapters)
        ]


class LlamaModel(backend.BatchedModel):
    """Weights in llama.cpp."""

    rows_per_batch = SLOTS
    context = SLOT_TOKENS

    def __init__(self, name: str, base: LlamaServer, adapter: Path | None = None) -> None:
        super().__init__(name)
        self.tokenizer = base.tokenizer
        self._base = base
        self._adapter = adapter
        self._pool = ThreadPoolExecutor(SLOTS)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer all requests of a batch at the same time."""
        return list(
            self._pool.map(
                lambda request: self.write(request, Sampling(), lambda piece: False)[0], requests
            )
        )

    def render_text(self, messages: Sequence[Message]) -> str:
        """Render the prompt as the model reads it."""
        return render_text(self.tokenizer, messages)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count the tokens of the prompt."""
        return len(render(self.tokenizer, messages))

    def write(
        self, request: Request, sampling: Sampling, on_piece: OnPiece
    ) -> tuple[Completion, list[TokenScore]]:
        """Answer one request piece by piece; several threads may call this at once.

        Raises ModelError if the request and its answer are too long, or if llama.cpp refuses the
        request.
        """
        prompt = render(self.tokenizer, request.messages)
        backend.check_length(self, "The request", len(prompt), request.max_tokens)
        answer = LlamaAnswer(on_piece)
        started = perf_counter()
        scored = sampling
        if request.scores_tokens and sampling.top_logprobs is None:
            scored = replace(sampling, top_logprobs=1)
        body = _build_body(prompt, request.max_tokens, scored) | {
            "lora": self._base.list_scales(self._adapter)
        }
        grammar = (
            Grammar("json_schema", sampling.json_schema)
            if sampling.json_schema
            else request.grammar
        )
        if grammar:
            body["grammar"] = format_grammar(grammar)
        self._base.server.handle_completions(body, answer.add_chunk)
        completion = answer.to_completion(perf_counter() - started)
        return completion, [] if sampling.top_logprobs is None else answer.scores


class LlamaAnswer(backend.StreamedText):
    """An answer that llama.cpp sends in chunks."""

    def __init__(self, on_piece: OnPiece) -> None:
        super().__init__()
        self.on_piece = on_piece
        self.scores: list[TokenScore] = []
        self.finish: Literal["stop", "length"] = "length"
        self.usage: Mapping[str, Any] = {}
        self.error = ""

    def add_chunk(self, chunk: Mapping[str, Any]) -> bool:
        """Add one chunk; True ends the answer."""
        if "choices" not in chunk:
            self.error = str(chunk.get("error", chunk))
            return True
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            self.scores += backend.read_token_scores(
                (choice.get("logprobs") or {}).get("content", ())
            )
            if choice["finish_reason"] == "stop":
                self.finish = "stop"
        piece = self.add("".join(choice["text"] for choice in chunk["choices"]))
        return self.on_piece(piece) if piece else False

    def to_completion(self, seconds: float) -> Completion:
        """Build the completion. It has a log-probability only if those of the tokens were
        requested.
        """
        if self.error:
            raise ModelError(f"llama.cpp did not answer: {self.error}")
        prompt = self.usage.get("prompt_tokens", 0)
        cached = (self.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        logprobs = [score.logprob for score in self.scores]
        tokens = self.usage.get("completion_tokens", 0)
        return Completion(
            *(self.text, self.finish, prompt, cached, tokens, seconds),
            logprob=sum(logprobs) if logprobs else None,
            min_logprob=min(logprobs, default=None),
        )


def load(ref: ModelRef, models: "Models") -> LlamaModel:
    """Load the model that `ref` names, for the registry, with all adapters that will be used with
    its base.
    """
    weights = find_base_file(ref.name.removeprefix(PREFIX))
    adapters = [
        expected.adapter
        for expected in (*models.expected, ref)
        if expected.name == ref.name and expected.adapter
    ]
    base: LlamaServer = models.load_once((PREFIX, ref.name), lambda: LlamaServer(weights, adapters))
    if ref.adapter and ref.adapter not in base.adapters:
        base = LlamaServer(weights, [ref.adapter])
    return LlamaModel(ref.name, base, ref.adapter)


def _build_parameters(weights: Path, adapters: Sequence[Path]) -> CommonParams:
    parameters = CommonParams()
    parameters.model.path = str(weights)
    parameters.lora_adapters = [CommonAdapterLoraInfo(str(adapter), 0.0) for adapter in adapters]
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * SLOT_TOKENS
    parameters.kv_unified = False
    parameters.cache_ram_mib = 0
    parameters.verbosity = -1
    parameters.ui = False
    # llama.cpp also listens on a free port of localhost; the key keeps others out.
    parameters.api_keys = [secrets.token_hex(32)]
    threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    return parameters


def _build_body(prompt: Sequence[int], max_tokens: int, sampling: Sampling) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": list(prompt),
        "max_tokens": max_tokens,
        "stream": True,
        "cache_prompt": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "samplers": ["top_p", "temperature"],
        "stream_options": {"include_usage": True},
        "stop": list(sampling.stop),
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed % 2**32
    if sampling.top_logprobs is not None:
        body["logprobs"] = max(1, sampling.top_logprobs)
    return body


def format_grammar(grammar: Grammar) -> str:
    """Format a grammar for llama.cpp, which also uses llguidance. Raises the GrammarError of
    `compile_grammar`, because llama.cpp would ignore a grammar that it cannot enforce.
    """
    (rule,) = grammars.compile_grammar(grammar)["grammars"]
    body = rule["lark_grammar"] or f"start: %json {json.dumps(rule['json_schema'])}"
    return f"%llguidance {{}}\n{body}"
