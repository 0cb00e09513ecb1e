"""The search that the retrieving methods share: fitted on train once a run, chosen on dev.

Which passage answers a training row is known from its question and answer (`gold_passages`). Where enough rows have
one, the encoder learns from them. Some passages are held out of its training, so that the best epoch is the best for
passages too that no example speaks of; then it learns from all of them for as many epochs, unless a budget leaves no
time for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from etude.assistant import with_passages
from etude.base.files import read_json, write_json
from etude.base.wording import count, share
from etude.data.dataset import Dataset
from etude.index.build import encoder_of, vectors_file
from etude.index.documents import read_passages
from etude.index.passages import Passage
from etude.index.search import Search, gold_passages, load_search
from etude.index.vectors import Vectors, num_missing, vectors_of
from etude.methods.fit_context import FitContext
from etude.models.registry import Models
from etude.stats.intervals import estimate, estimate_sample
from etude.stats.ladder import choose
from etude.stats.sample import score_sample
from etude.task import Task
from etude.types import Example, SearchRef

if TYPE_CHECKING:
    from etude.models.encoder import Encoder
    from etude.training.encoder_loop import TunedEncoder

FOLDER, FACTS = "search", "search.json"
LEAST_PAIRS, LEAST_PASSAGES = 60, 10
"""Rows with a known passage, and different ones among these, from which on the encoder is tuned."""
HELD_OUT = 0.1
"""Share of the known passages that the encoder is not taught."""
TIMED_TEXTS = 32
"""Passages whose embedding is timed for the plan."""
DEPTH = 10
"""Places of a ranking that count."""
RECALL_AT = 5
"""Places of a ranking in which a passage counts as found."""


@dataclass(frozen=True)
class FittedSearch:
    """A search, and the passage that belongs to every row it was fitted with."""

    ref: SearchRef
    search: Search

    def shown(self, rows: Sequence[Example]) -> list[Example]:
        """The rows with the passage their answer was written from behind their question; where none is known, with
        the first that is found."""
        gold = known_passages(self.search, rows)
        asked = [question(row) for row, place in zip(rows, gold, strict=True) if place is None]
        first = iter(self.search.find(asked, 1))
        places = [next(first)[0] if place is None else place for place in gold]
        return [
            replace(row, input=with_passages(row.input, [self.search.passages[place]]))
            for row, place in zip(rows, places, strict=True)
        ]


def fitted_search(task: Task, train: Dataset, dev: Dataset, context: FitContext) -> FittedSearch:
    """The search for the task's documents; what a lower step of the run has fitted is taken as it is.

    What was tried goes into the context's `params`. Raises InputError for documents that cannot be read.
    """
    folders = [*context.lower, context.folder]
    folder = next((each for each in folders if (each / FACTS).exists()), context.folder)
    if not (folder / FACTS).exists():
        facts = _fit(task, train, dev, context)
        write_json(folder / FACTS, facts)
        context.train_seconds += facts["seconds"]
    facts = read_json(folder / FACTS)
    context.learned = facts["tuning"].get("pairs") if "learned" in facts["chosen"] else None
    if folder == context.folder:
        context.notes.extend([*facts["notes"], *_in_words(facts)])
        context.params["search"] = facts
    ref = SearchRef(folder / FOLDER, facts["fingerprint"])
    return FittedSearch(
        ref, context.models.once(ref, lambda: load_search(ref.folder, context.models.encoder))
    )


def _in_words(facts: Mapping[str, Any]) -> Iterator[str]:
    """How often each search finds the right passage first."""
    known = facts["known"]["dev"]
    if not known:
        yield f"no dev row has a known passage, so the search ({facts['chosen']}) was not measured"
        return
    shares = [f"{one['name']} {share(one['first_right'])}" for one in facts["tried"]]
    (chosen,) = (one for one in facts["tried"] if one["chosen"])
    found, mrr = chosen["recall"], chosen["mrr"]
    yield (
        f"search by {facts['chosen']} over {count(facts['passages'], 'passage')}; of {count(known, 'dev row')} whose "
        f"passage is known it is among the first {RECALL_AT} for {share(found['value'])} ({share(found['low'])} to "
        f"{share(found['high'])}), mean reciprocal rank {mrr['value']:.2f} ({mrr['low']:.2f} to {mrr['high']:.2f}); "
        f"first hits that are right: {', '.join(shares)}"
    )


def with_any_passage(task: Task, rows: Iterable[Example]) -> Iterator[Example]:
    """Rows as long as they will be with a passage, whichever it is."""
    assert task.documents is not None
    for row, passage in zip(rows, cycle(read_passages(task.documents)), strict=False):
        yield replace(row, input=with_passages(row.input, [passage]))


def search_time(task: Task, train: Dataset, models: Models) -> Callable[[int | None], float]:
    """About how long it takes to fit the search in so many epochs at most, from two timed steps and some passages."""
    from etude.training.contrastive import ContrastiveConfig, estimate_seconds

    assert task.documents is not None
    started = time.perf_counter()
    search = Search(read_passages(task.documents))
    pairs, encoder = known_pairs(search, train.examples), encoder_of(task, models, [])
    read, texts, config = (
        time.perf_counter() - started,
        [each.text for each in search.passages],
        ContrastiveConfig(),
    )
    if encoder is None:
        return lambda epochs: read
    some = texts[:TIMED_TEXTS]
    begun = time.perf_counter()
    encoder.embed(some)
    once = (time.perf_counter() - begun) / len(some)
    embedding, first = once * len(texts), once * num_missing(texts, encoder, vectors_file(task))
    if not enough(pairs):
        return lambda epochs: read + first
    epoch = estimate_seconds(encoder, pairs, texts, config) / config.epochs

    def seconds(epochs: int | None) -> float:
        """Passages are embedded before the first epoch, around each, and for both candidates, of which `etude index`
        may have done the first; without a limit the encoder is trained twice."""
        num = 2 * config.epochs if epochs is None else min(epochs, config.epochs)
        return read + first + num * epoch + (2 * num + 3) * embedding

    return seconds


def enough(pairs: Sequence[tuple[str, int]]) -> bool:
    """Whether an encoder can learn from these pairs."""
    return len(pairs) >= LEAST_PAIRS and len({place for _, place in pairs}) >= LEAST_PASSAGES


def question(example: Example) -> str:
    """What is looked up for a row."""
    return example.input[-1].content


def said(example: Example) -> str:
    """What a row says of its passage: an answer of few words is in many."""
    return f"{question(example)} {example.output}"


def _fit(task: Task, train: Dataset, dev: Dataset, context: FitContext) -> dict[str, Any]:
    assert task.documents is not None
    started = time.perf_counter()
    passages = read_passages(task.documents)
    notes: list[str] = []
    encoder = encoder_of(task, context.models, notes)
    texts = [passage.text for passage in passages]
    candidates = {"keywords": Search(passages)}
    by_keyword = candidates["keywords"]
    pairs, asked = known_pairs(by_keyword, train.examples), known_pairs(by_keyword, dev.examples)
    tuning: dict[str, Any] = {}
    if encoder is not None:
        vectors, _ = vectors_of(texts, encoder, vectors_file(task))
        candidates |= _with_encoder(by_keyword, encoder, vectors, "meaning")
        if enough(pairs) and asked:
            tuned, tuning = tuned_encoder(encoder.name, passages, pairs, asked, context)
            candidates |= _with_encoder(by_keyword, tuned, tuned.embed(texts), "learned meaning")
    name, tried = _chosen(candidates, asked)
    candidates[name].save(context.folder / FOLDER)
    return {
        "chosen": name,
        "tried": tried,
        "passages": len(passages),
        "known": {"train": len(pairs), "dev": len(asked)},
        "tuning": tuning,
        "fingerprint": candidates[name].fingerprint,
        "seconds": time.perf_counter() - started,
        "notes": notes,
    }


def _with_encoder(by_keyword: Search, encoder: Encoder, vectors: Vectors, name: str) -> dict[str, Search]:
    by_meaning = replace(
        by_keyword, way="meaning", encoder=encoder, vectors=vectors, words=by_keyword.keywords
    )
    return {name: by_meaning, f"keywords and {name}": replace(by_meaning, way="both")}


def known_pairs(search: Search, rows: Sequence[Example]) -> list[tuple[str, int]]:
    """Questions with the passage that their answer was written from, where it is clear."""
    gold = known_passages(search, rows)
    return [(question(row), place) for row, place in zip(rows, gold, strict=True) if place is not None]


def known_passages(search: Search, rows: Sequence[Example]) -> list[int | None]:
    """The passage of each row: of its `source`, where it names one, that which its answer shares most with; else the
    passage that the answer was clearly written from."""
    places: dict[str, set[int]] = {}
    for place, passage in enumerate(search.passages):
        places.setdefault(passage.name, set()).add(place)
        places.setdefault(passage.file, set()).add(place)
    named = [places.get(row.source or "", set()) for row in rows]
    guessed = iter(
        gold_passages(search, [said(row) for row, own in zip(rows, named, strict=True) if not own])
    )
    return [
        _nearest_of(search, row.output, own) if own else next(guessed)
        for row, own in zip(rows, named, strict=True)
    ]


def _nearest_of(search: Search, text: str, places: set[int]) -> int:
    """Of these passages the one that shares most with a text."""
    if len(places) == 1:
        return next(iter(places))
    scores = search.keywords.scores(text)
    return max(sorted(places), key=lambda place: scores[place])


def reciprocal_ranks(search: Search, pairs: Sequence[tuple[str, int]]) -> list[float]:
    """1 / rank of each question's passage among the first ten; 0 where it is not there."""
    ranked = search.find([asked for asked, _ in pairs], DEPTH)
    return [
        1 / (row.index(place) + 1) if place in row else 0.0
        for row, (_, place) in zip(ranked, pairs, strict=True)
    ]


def _chosen(
    candidates: dict[str, Search], asked: Sequence[tuple[str, int]]
) -> tuple[str, list[dict[str, Any]]]:
    """The search to use, and how each did on dev; without known passages on dev the last, which knows most."""
    if not asked:
        name = list(candidates)[-1]
        return name, [{"name": each, "chosen": each == name} for each in candidates]
    ranks = {name: reciprocal_ranks(search, asked) for name, search in candidates.items()}
    samples = [(name, score_sample(each)) for name, each in ranks.items()]
    chosen = samples[choose(samples).index][0]
    tried = []
    for name, sample in samples:
        found = estimate_sample(sample)
        early = estimate([rank >= 1 / RECALL_AT for rank in ranks[name]])
        first = [rank == 1 for rank in ranks[name]]
        tried.append(
            {
                "name": name,
                "mrr": {"value": found.value, "low": found.low, "high": found.high, "n": found.n},
                "recall": {
                    "at": RECALL_AT,
                    "value": early.value,
                    "low": early.low,
                    "high": early.high,
                    "n": early.n,
                },
                "first_right": float(np.mean(first)),
                "chosen": name == chosen,
            }
        )
    return chosen, tried


def tuned_encoder(
    name: str,
    passages: Sequence[Passage],
    pairs: Sequence[tuple[str, int]],
    asked: Sequence[tuple[str, int]],
    context: FitContext,
) -> tuple[Encoder, dict[str, Any]]:
    """The encoder `name` after it has learned the pairs of train, and what is to be told of it.

    The pairs of some passages are held out, and its epochs are compared on these and on the pairs `asked` of dev.
    Then, unless `search_epochs` is limited, it starts again and learns all pairs for as many epochs as were best.
    """
    from etude.training.contrastive import ContrastiveConfig, tune_encoder

    texts, most = [passage.text for passage in passages], context.effort.search_epochs
    known = sorted({place for _, place in pairs})
    held = set(random.Random(f"{context.seed}/held").sample(known, max(1, round(HELD_OUT * len(known)))))
    taught, kept = ([pair for pair in pairs if (pair[1] in held) == out] for out in (False, True))

    def learn(
        rows: Sequence[tuple[str, int]], judged: Sequence[Sequence[tuple[str, int]]], epochs: int, to: str
    ) -> tuple[Encoder, TunedEncoder]:
        """Trains the encoder as published on `rows`; its epochs are compared on what is `judged`."""

        def score(now: Encoder) -> float:
            search = Search(passages, "meaning", now, now.embed(texts))
            return float(np.mean([np.mean(reciprocal_ranks(search, some)) for some in judged if some]))

        encoder, config = context.models.encoder(name), ContrastiveConfig(epochs, seed=context.seed)
        result = tune_encoder(encoder, rows, texts, config, context.folder / to, score, context.search_log)
        return encoder, result

    epochs = ContrastiveConfig.epochs
    encoder, result = learn(taught, (asked, kept), min(epochs, most or epochs), "encoder")
    facts = {
        "pairs": len(taught),
        "held_out": len(held),
        "scores": list(result.scores),
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
    }
    if most is None and result.best_epoch:
        encoder, again = learn(pairs, (asked,), result.best_epoch, "encoder_on_all")
        facts |= {
            "pairs": len(pairs),
            "on_all": list(again.scores),
            "seconds": result.seconds + again.seconds,
        }
    return encoder, facts
