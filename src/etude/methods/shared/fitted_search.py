"""The search that all methods with passages share: fitted on train once per run, and chosen on dev.

The passage that answers a training row is found from its question and answer
(`find_gold_passages`). If enough rows have such a passage, the encoder is trained on them. Some
passages are held out of this training, so that the best epoch is also good for passages that no
example asks about. Then, without a time limit, the encoder is trained on all rows for as many
epochs. A first look does not train the encoder.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from etude.assistant import add_passages
from etude.base.files import read_json, write_json
from etude.base.formatting import format_count, format_share
from etude.data.dataset import Dataset
from etude.evaluate import get_unit
from etude.index.build import Vectors, embed_texts, load_task_encoder, vectors_path
from etude.index.documents import read_passages
from etude.index.passages import Passage
from etude.index.search import Search, find_gold_passages, load_search
from etude.limits.scope import get_question
from etude.methods.shared.fit_context import FitContext
from etude.stats import choose, estimate, estimate_sample, make_score_sample
from etude.task import Task
from etude.types import Example, SearchRef

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder
    from etude.training.encoder_loop import TunedEncoder

FOLDER = "search"
FACTS = "search.json"
ROW_IDS = "search_rows.json"
MIN_PAIRS = 60
MIN_PASSAGES = 10
"""The encoder is trained if at least this many rows have a known passage, and this many of the
passages differ.
"""
HELD_OUT = 0.1  # share of the known passages that are held out of the encoder's training
FAR = 0.5
FAR_RATE = 1e-3
"""Below this mean reciprocal rank, the published encoder is trained with this learning rate. After
82 steps, the first hit is then right for 64% of Luma's dev questions.
"""
NEAR_SHARE = 0.4
"""Above it, training gains little, so it takes only this share of its time."""
DEPTH = 10  # ranks that are looked at; a passage further down has a reciprocal rank of 0
RECALL_AT = 5  # ranks up to which a passage counts as found


@dataclass(frozen=True)
class FittedSearch:
    """A search over the task's documents, and where it is saved."""

    ref: SearchRef
    search: Search

    def add_passages(self, rows: Sequence[Example]) -> list[Example]:
        """Append to each question the passage that its answer was written from; if it is not known,
        the first hit.
        """
        gold = find_known_passages(self.search, rows)
        questions = [
            get_question(row.input)
            for row, position in zip(rows, gold, strict=True)
            if position is None
        ]
        hits = iter(self.search.find(questions, 1))
        positions = [next(hits)[0] if position is None else position for position in gold]
        return [
            replace(row, input=add_passages(row.input, [self.search.passages[position]]))
            for row, position in zip(rows, positions, strict=True)
        ]


def fit_search(task: Task, train: Dataset, dev: Dataset, context: FitContext) -> FittedSearch:
    """Fit the search for the task's documents, or load the one that a simpler method of the run has
    fitted on rows of `train`. A search of a first look is loaded only in a first look.

    The searches tried are recorded in the context's `params`. Raises InputError for documents it
    cannot read.
    """
    folder = _find_fitted(train, context)
    if folder is None:
        folder = context.folder
        facts = _fit(task, train, dev, context)
        write_json(folder / ROW_IDS, {"ids": [row.id for row in train]})
        write_json(folder / FACTS, facts)
        context.train_seconds += facts["seconds"]
    facts = read_json(folder / FACTS)
    # Only a tuned encoder has learned from rows.
    if "learned" in facts["chosen"]:
        num_rows = facts["tuning"].get("num_rows") or len(read_json(folder / ROW_IDS)["ids"])
        context.has_learned = True
        context.num_trained = 0
        context.num_search_rows = num_rows
    if folder == context.folder:
        context.notes.extend([*facts["notes"], *_format_notes(facts)])
        context.params["search"] = facts
    context.is_cut |= facts["is_quick"] or facts["tuning"].get("is_cut", False)
    ref = SearchRef(folder / FOLDER, facts["fingerprint"])
    return FittedSearch(
        ref,
        context.models.load_once(ref, lambda: load_search(ref.folder, context.models.load_encoder)),
    )


def _find_fitted(train: Dataset, context: FitContext) -> Path | None:
    """Find the folder of a search that was fitted only on rows of `train`, or on any rows if the
    context allows it.
    """
    ids = {row.id for row in train}
    for folder in (*context.lower_folders, context.folder):
        if not (folder / FACTS).exists() or (
            read_json(folder / FACTS)["is_quick"] and not _is_quick(context)
        ):
            continue
        if context.takes_any_search or ids.issuperset(read_json(folder / ROW_IDS)["ids"]):
            return folder
    return None


def _is_quick(context: FitContext) -> bool:
    """Whether the look has no time to train an encoder."""
    return context.effort.search_seconds == 0


def _format_notes(facts: Mapping[str, Any]) -> Iterator[str]:
    num_known = facts["known"]["dev"]
    if not num_known:
        yield f"no dev row has a known passage, so the search ({facts['chosen']}) was not measured"
        return
    shares = [f"{trial['name']} {format_share(trial['first_right'])}" for trial in facts["tried"]]
    (best,) = (trial for trial in facts["tried"] if trial["chosen"])
    recall = best["recall"]
    mrr = best["mrr"]
    bounds = f"{format_share(recall['low'])} to {format_share(recall['high'])}"
    yield (
        f"search by {facts['chosen']} over {format_count(facts['passages'], 'passage')}: of "
        f"{format_count(num_known, 'dev row')} with a known passage, "
        f"{format_share(recall['value'])} (95% interval {bounds}) have it among the first "
        f"{RECALL_AT} hits; mean reciprocal rank {mrr['value']:.2f} ({mrr['low']:.2f} to "
        f"{mrr['high']:.2f}); share of right first hits: {', '.join(shares)}"
    )


def _fit(task: Task, train: Dataset, dev: Dataset, context: FitContext) -> dict[str, Any]:
    assert task.documents is not None
    started = time.perf_counter()
    passages = read_passages(task.documents)
    notes: list[str] = []
    encoder = load_task_encoder(task, context.models, notes)
    texts = [passage.text for passage in passages]
    candidates = {"keywords": Search(passages)}
    by_keyword = candidates["keywords"]
    pairs, dev_pairs = (find_known_pairs(by_keyword, side.examples) for side in (train, dev))
    tuning: dict[str, Any] = {}
    is_quick = False
    if encoder is not None:
        vectors, _ = embed_texts(texts, encoder, vectors_path(task))
        candidates |= _build_with_encoder(by_keyword, encoder, vectors, "meaning")
        # Minutes on a CPU for some thousand pairs; the encoder as published stays a candidate.
        num_found = len({position for _, position in pairs})
        is_trainable = len(pairs) >= MIN_PAIRS and num_found >= MIN_PASSAGES and bool(dev_pairs)
        is_quick = is_trainable and _is_quick(context)
        if is_trainable and not is_quick:
            ranks = compute_reciprocal_ranks(candidates["meaning"], dev_pairs)
            rate, share = (FAR_RATE, 1.0) if np.mean(ranks) < FAR else (None, NEAR_SHARE)
            tuned, tuning = train_encoder(
                encoder.name, passages, pairs, dev_pairs, context, rate, share
            )
            candidates |= _build_with_encoder(
                by_keyword, tuned, tuned.embed(texts), "learned meaning"
            )
    # The simplest of the best searches is saved: an equal score does not justify embeddings.
    units = {get_question(row.input): get_unit(row) for row in dev}
    name, tried = _choose_search(
        candidates, dev_pairs, [units[pair[0]] for pair in dev_pairs], context.margin
    )
    candidates[name].save(context.folder / FOLDER)
    return {
        "chosen": name,
        "tried": tried,
        "passages": len(passages),
        "known": {"train": len(pairs), "dev": len(dev_pairs)},
        "tuning": tuning,
        "is_quick": is_quick,
        "fingerprint": candidates[name].fingerprint,
        "seconds": time.perf_counter() - started,
        "notes": notes,
    }


def _build_with_encoder(
    by_keyword: Search, encoder: Encoder, vectors: Vectors, name: str
) -> dict[str, Search]:
    by_meaning = replace(
        by_keyword,
        mode="meaning",
        encoder=encoder,
        vectors=vectors,
        keyword_index=by_keyword.keywords,
    )
    return {name: by_meaning, f"keywords and {name}": replace(by_meaning, mode="both")}


def find_known_pairs(search: Search, rows: Sequence[Example]) -> list[tuple[str, int]]:
    """Find the questions whose passage is known, with its position."""
    gold = find_known_passages(search, rows)
    pairs = zip(rows, gold, strict=True)
    return [(get_question(row.input), position) for row, position in pairs if position is not None]


def find_known_passages(search: Search, rows: Sequence[Example]) -> list[int | None]:
    """Find the position of each row's passage. If the row has a `source`, this is the passage of
    that source with the most words of the answer; else the passage that the answer was clearly
    written from, or None.
    """
    positions_by_name: dict[str, set[int]] = {}
    for position, passage in enumerate(search.passages):
        positions_by_name.setdefault(passage.name, set()).add(position)
        positions_by_name.setdefault(passage.file, set()).add(position)
    named_positions = [positions_by_name.get(row.source or "", set()) for row in rows]
    unnamed = [row for row, positions in zip(rows, named_positions, strict=True) if not positions]
    # Include the question, because many passages contain a short answer.
    guessed = iter(
        find_gold_passages(search, [f"{get_question(row.input)} {row.output}" for row in unnamed])
    )
    return [
        _choose_nearest(search, row.output, positions) if positions else next(guessed)
        for row, positions in zip(rows, named_positions, strict=True)
    ]


def _choose_nearest(search: Search, text: str, positions: set[int]) -> int:
    if len(positions) == 1:
        return next(iter(positions))
    scores = search.keywords.scores(text)
    return max(sorted(positions), key=lambda position: scores[position])


def compute_reciprocal_ranks(search: Search, pairs: Sequence[tuple[str, int]]) -> list[float]:
    """Compute 1 / rank of each question's passage among the first ten; 0 if it is not there."""
    ranked = search.find([query for query, _ in pairs], DEPTH)
    return [
        1 / (row.index(position) + 1) if position in row else 0.0
        for row, (_, position) in zip(ranked, pairs, strict=True)
    ]


def _choose_search(
    candidates: dict[str, Search],
    dev_pairs: Sequence[tuple[str, int]],
    units: Sequence[str],
    margin: float,
) -> tuple[str, list[dict[str, Any]]]:
    """Choose the search by its ranks on dev, and describe all. Without known passages on dev,
    choose the last one, which is the most capable.
    """
    if not dev_pairs:
        name = list(candidates)[-1]
        return name, [{"name": candidate, "chosen": candidate == name} for candidate in candidates]
    ranks = {
        name: compute_reciprocal_ranks(search, dev_pairs) for name, search in candidates.items()
    }
    samples = [(name, make_score_sample(scores, units)) for name, scores in ranks.items()]
    best = samples[choose(samples, margin).index][0]
    trials = []
    for name, sample in samples:
        mrr = estimate_sample(sample)
        recall = estimate([rank >= 1 / RECALL_AT for rank in ranks[name]], units)
        trials.append(
            {
                "name": name,
                "mrr": asdict(mrr),
                "recall": {"at": RECALL_AT, **asdict(recall)},
                "first_right": float(np.mean([rank == 1 for rank in ranks[name]])),
                "chosen": name == best,
            }
        )
    return best, trials


def train_encoder(
    name: str,
    passages: Sequence[Passage],
    pairs: Sequence[tuple[str, int]],
    dev_pairs: Sequence[tuple[str, int]],
    context: FitContext,
    learning_rate: float | None = None,
    share: float = 1.0,
) -> tuple[Encoder, dict[str, Any]]:
    """Train the encoder `name` on the pairs of train, in this share of `search_seconds`; returns it
    with facts on it.

    Some passages are held out, and the epochs are compared on their pairs and the pairs of dev.
    Then, unless `search_seconds` is limited, the encoder starts again and is trained on all pairs
    for the best number of epochs.
    """
    from etude.training.contrastive import ContrastiveConfig, prepare_contrastive_training
    from etude.training.time_box import TimeBox

    texts = [passage.text for passage in passages]
    seconds = context.effort.search_seconds
    box = TimeBox(math.inf if seconds is None else share * seconds, is_stopped=context.is_stopped)
    known_positions = sorted({position for _, position in pairs})
    num_held_out = max(1, round(HELD_OUT * len(known_positions)))
    held_out = set(random.Random(f"{context.seed}/held").sample(known_positions, num_held_out))
    train_pairs = [pair for pair in pairs if pair[1] not in held_out]
    held_out_pairs = [pair for pair in pairs if pair[1] in held_out]

    def train_on(
        rows: Sequence[tuple[str, int]],
        judged_pairs: Sequence[Sequence[tuple[str, int]]],
        epochs: int,
        folder_name: str,
    ) -> tuple[Encoder, TunedEncoder]:
        """Train the encoder as published on `rows` and keep the epoch that is best on the
        `judged_pairs`.
        """

        def score() -> float:
            search = Search(passages, "meaning", encoder, encoder.embed(texts))
            ranks = [compute_reciprocal_ranks(search, side) for side in judged_pairs if side]
            return float(np.mean([np.mean(side_ranks) for side_ranks in ranks]))

        encoder = context.models.load_encoder(name)
        rate = learning_rate or ContrastiveConfig.learning_rate
        config = ContrastiveConfig(epochs, learning_rate=rate, seed=context.seed)
        training = prepare_contrastive_training(encoder, rows, texts, config)
        return encoder, training.train(context.folder / folder_name, score, context.search_log, box)

    judged_pairs = (dev_pairs, held_out_pairs)
    encoder, result = train_on(train_pairs, judged_pairs, ContrastiveConfig.epochs, "encoder")
    facts = {
        "pairs": len(train_pairs),
        "num_rows": round(result.trained_share * len(train_pairs)),  # without those held out
        "held_out": len(held_out),
        "scores": list(result.scores),
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "is_cut": result.steps < result.planned_steps,
    }
    if seconds is None and not box.is_stopped() and result.best_epoch:
        encoder, again = train_on(pairs, (dev_pairs,), result.best_epoch, "encoder_on_all")
        facts |= {
            "pairs": len(pairs),
            "num_rows": None,  # all
            "on_all": list(again.scores),
            "seconds": result.seconds + again.seconds,
        }
    return encoder, facts
