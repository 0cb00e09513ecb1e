"""A Model that runs in llama.cpp, through xllamacpp: GGUF weights on this machine, asked in our own token ids.

`llama_cpp:NAME` is the GGUF file that NAME means, with a tuned adapter laid over it. Several requests are answered at
once; what they begin with alike is computed once, by its cache of prompts. The adapters that are expected over
one base share its weights, and each request names its own.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from llguidance import LLMatcher
from xllamacpp import CommonAdapterLoraInfo, CommonParams, Server

from etude.errors import ModelError
from etude.models.backend import BatchedModel
from etude.models.llama_cpp.gguf import base_file, write_adapter
from etude.models.loading import read_tokenizer
from etude.render import render, render_text
from etude.types import Completion, Grammar, Message, ModelRef, Request, Sampling, TokenScore

if TYPE_CHECKING:
    from etude.models.registry import Models

PREFIX = "llama_cpp:"
SLOTS = 16
"""Requests that are answered at once."""
SLOT_TOKENS = 2_048
"""Tokens that a prompt and its answer may have together."""
OnPiece = Callable[[str], bool]
"""Called with each new piece of an answer; True ends it."""


class Base:
    """One GGUF file in llama.cpp, with adapters over it."""

    def __init__(self, weights: Path, adapters: Sequence[Path]) -> None:
        self.tokenizer = read_tokenizer(weights)
        self.adapters = list(dict.fromkeys(adapters))
        with tempfile.TemporaryDirectory() as folder:
            files = [
                _as_gguf(weights, each, Path(folder) / f"{at}.gguf") for at, each in enumerate(self.adapters)
            ]
            self.server = Server(_parameters(weights, files))

    def scales(self, adapter: Path | None) -> list[dict[str, float]]:
        """What a request says of the adapters. All are named: of one that is not, the cache would keep the prompt."""
        return [{"id": at, "scale": float(each == adapter)} for at, each in enumerate(self.adapters)]


class LlamaModel(BatchedModel):
    """Weights in llama.cpp."""

    rows_per_batch, context = SLOTS, SLOT_TOKENS

    def __init__(self, name: str, base: Base, adapter: Path | None = None) -> None:
        super().__init__(name)
        self.tokenizer, self._base, self._adapter = base.tokenizer, base, adapter
        self._pool = ThreadPoolExecutor(SLOTS)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers a batch, all of it at once."""
        return list(
            self._pool.map(lambda each: self.write(each, Sampling(), lambda piece: False)[0], requests)
        )

    def render_text(self, messages: Sequence[Message]) -> str:
        """The prompt as the model reads it."""
        return render_text(self.tokenizer, messages)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt."""
        return len(render(self.tokenizer, messages))

    def write(
        self, request: Request, sampling: Sampling, on_piece: OnPiece
    ) -> tuple[Completion, list[TokenScore]]:
        """Answers one request piece by piece; several threads may call this at once.

        Raises ModelError when the request and its answer do not fit, or llama.cpp refuses it.
        """
        prompt = render(self.tokenizer, request.messages)
        if len(prompt) + request.max_tokens > self.context:
            raise ModelError(
                f"The request has {len(prompt)} tokens and may answer with {request.max_tokens}; {self.name} reads "
                f"at most {self.context}. Shorten it, give fewer examples, or lower max_tokens."
            )
        written, started = Written(on_piece), perf_counter()
        asked = _asked(prompt, request.max_tokens, sampling) | {"lora": self._base.scales(self._adapter)}
        if request.grammar and not sampling.json_schema:
            asked["grammar"] = grammar(request.grammar)
        self._base.server.handle_completions(asked, written.take)
        return written.completion(perf_counter() - started), written.scores


class Written:
    """What llama.cpp has written behind one prompt."""

    def __init__(self, on_piece: OnPiece) -> None:
        self.on_piece = on_piece
        self.text = self.given = ""
        self.scores: list[TokenScore] = []
        self.finish: Literal["stop", "length"] = "length"
        self.usage: Mapping[str, Any] = {}
        self.error = ""

    def take(self, chunk: Mapping[str, Any]) -> bool:
        """Takes one chunk; True ends the answer."""
        if "choices" not in chunk:
            self.error = str(chunk.get("error", chunk))
            return True
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            self.text += choice["text"]
            self.scores += map(_score, (choice.get("logprobs") or {}).get("content", ()))
            if choice["finish_reason"] == "stop":
                self.finish = "stop"
        piece = self.text.strip()[len(self.given) :]
        self.given += piece
        return self.on_piece(piece) if piece else False

    def completion(self, seconds: float) -> Completion:
        """The whole answer. Its log-probability is known if those of its tokens were asked for."""
        if self.error:
            raise ModelError(f"llama.cpp did not answer: {self.error}")
        prompt = self.usage.get("prompt_tokens", 0)
        cached = (self.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        logprob = sum(score.logprob for score in self.scores) if self.scores else None
        tokens = self.usage.get("completion_tokens", 0)
        return Completion(self.text, self.finish, prompt, cached, tokens, seconds, logprob)


def load(ref: ModelRef, models: Models) -> LlamaModel:
    """The model that `ref` names, for the registry; all adapters that the models expect over its base come with it."""
    weights = base_file(ref.name.removeprefix(PREFIX))
    expected = [each.adapter for each in (*models.expected, ref) if each.name == ref.name and each.adapter]
    base: Base = models.once((PREFIX, ref.name), lambda: Base(weights, expected))
    if ref.adapter and ref.adapter not in base.adapters:
        base = Base(weights, [ref.adapter])
    return LlamaModel(ref.name, base, ref.adapter)


def _as_gguf(weights: Path, adapter: Path, target: Path) -> Path:
    if adapter.is_file():
        return adapter
    write_adapter(weights, adapter, target)
    return target


def _parameters(weights: Path, adapters: Sequence[Path]) -> CommonParams:
    found = CommonParams()
    found.model.path = str(weights)
    found.lora_adapters = [CommonAdapterLoraInfo(str(each), 0.0) for each in adapters]
    found.n_parallel, found.n_ctx = SLOTS, SLOTS * SLOT_TOKENS
    found.kv_unified, found.cache_ram_mib = False, 0
    found.verbosity, found.ui = -1, False
    # It also listens on a free port of the loopback, where nobody is to ask it.
    found.api_keys = [secrets.token_hex(32)]
    threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = threads
    return found


def _asked(prompt: Sequence[int], max_tokens: int, sampling: Sampling) -> dict[str, Any]:
    asked: dict[str, Any] = {
        **{"prompt": list(prompt), "max_tokens": max_tokens, "stream": True, "cache_prompt": True},
        **{
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "samplers": ["top_p", "temperature"],
        },
        **{"stream_options": {"include_usage": True}, "stop": list(sampling.stop)},
    }
    if sampling.seed is not None:
        asked["seed"] = sampling.seed % 2**32
    if sampling.top_logprobs is not None:
        asked["logprobs"] = max(1, sampling.top_logprobs)
    if sampling.json_schema:
        asked["json_schema"] = json.loads(sampling.json_schema)
    return asked


def grammar(form: Grammar) -> str:
    """A form as llama.cpp reads it, which keeps answers to it by llguidance too."""
    if form.kind == "json_schema":
        return f"%llguidance {{}}\nstart: %json {form.text}"
    (rule,) = json.loads(LLMatcher.grammar_from_regex(form.text))["grammars"]
    return f"%llguidance {{}}\n{rule['lark_grammar']}"


def _score(token: Mapping[str, Any]) -> TokenScore:
    likeliest = tuple((each["token"], each["logprob"]) for each in token["top_logprobs"])
    return TokenScore(token["token"], token["logprob"], likeliest)
