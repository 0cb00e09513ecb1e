"""Measure how often search finds the right passage, before and after its encoder is trained.

    python bench/search.py
        recall@5 and MRR by keywords, by meaning and by both
    python bench/search.py trained xquad_en --seconds 120
        recall@1 and recall@5 before and after training
    python bench/search.py ladder --budget 6m
        `etude compare` on xquad_en, split by paragraph

The right passage is, in xquad_en, the paragraph of the question (240 paragraphs); in
chunking_eval_corpora, the passage with one of its references or the largest part of it (five long
documents, searched together; every second question, because the other half was used to choose the
weight of keywords). `trained` asks the questions whose passages no train or dev question needs, and
in chunking_eval_corpora only those whose first reference is within one passage. Data: the folder
named by ETUDE_DATA, else ../shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.fuzz import partial_ratio
from real_sets import DATA, read_rows, write_lines

from etude.cli import main as etude
from etude.index.documents import read_passages
from etude.index.passages import Passage
from etude.index.search import Search
from etude.methods.shared.fit_context import Effort, FitContext
from etude.methods.shared.fitted_search import train_encoder
from etude.metrics import Metric
from etude.models.registry import Models
from etude.stats import estimate
from etude.stats.intervals import wilson
from etude.stats.paired import newcombe_paired

ENCODER = "all-minilm-l6-v2"
DEPTH = 10
NUM_FIRST = 5
SHARES = {"test": 0.25, "dev": 0.15}
"""Shares of the passages that answer questions; the others belong to train."""
TASK = """
name: xquad_en
kind: answer
model: smollm2-135m-instruct
examples: {file: examples.jsonl, input: question, output: answer, group: paragraph}
test: {file: test.jsonl, input: question, output: answer, group: paragraph}
documents: paragraphs/
instructions: Answer the question with the fewest words of the text that answer it.
metric: exact_match
methods: [METHODS]
"""

Pair = tuple[str, int]
"""A question, and the position of its passage."""
Questions = list[tuple[str, set[int]]]
"""Questions, each with the positions of its right passages."""


def xquad_en() -> tuple[list[Passage], Questions, list[Pair]]:
    """Loads paragraphs of Wikipedia and questions about them."""
    rows = read_rows("xquad_en/xquad_en.jsonl")
    places = {
        text: place for place, text in enumerate(dict.fromkeys(row["context"] for row in rows))
    }
    pairs = [(row["question"], places[row["context"]]) for row in rows]
    passages = [Passage(text, f"{place:03}.txt") for text, place in places.items()]
    return passages, [(question, {place}) for question, place in pairs], pairs


def chunking_eval_corpora() -> tuple[list[Passage], Questions, list[Pair]]:
    """Loads five long documents, split into passages as in a task, and their questions."""
    passages = list(read_passages(DATA / "chunking_eval_corpora" / "corpora"))
    texts: dict[str, dict[int, str]] = {}
    for place, passage in enumerate(passages):
        texts.setdefault(passage.file, {})[place] = _normalise(passage.text)
    questions: Questions = []
    pairs: list[Pair] = []
    for row in read_rows("chunking_eval_corpora/questions_df.csv"):
        texts_of_file = texts[f"{row['corpus_id']}.md"]
        references = [
            _normalise(reference["content"]) for reference in json.loads(row["references"])
        ]
        holders = [
            {place for place, text in texts_of_file.items() if ref in text} for ref in references
        ]
        pairs += [(row["question"], min(holders[0]))] if holders[0] else []
        nearest = (
            places
            or {max(texts_of_file, key=lambda place: partial_ratio(ref, texts_of_file[place]))}
            for places, ref in zip(holders, references, strict=True)
        )
        questions.append((row["question"], set().union(*nearest)))
    return passages, questions[1::2], pairs


SETS = {load.__name__: load for load in (xquad_en, chunking_eval_corpora)}


def _normalise(text: str) -> str:
    return " ".join(text.casefold().split())


def measure_quality() -> None:
    """Prints a line for each set and search."""
    encoder = Models().load_shared_encoder(ENCODER)
    for name, load in SETS.items():
        passages, questions, _ = load()
        vectors = encoder.embed([passage.text for passage in passages])
        print(f"{name}: {len(passages):,} passages, {len(questions):,} questions")
        for mode in ("keyword", "meaning", "both"):
            search = Search(passages, mode, *((encoder, vectors) if mode != "keyword" else ()))
            ranked = search.find([question for question, _ in questions], DEPTH)
            places = [
                next((place for place, hit in enumerate(hits, 1) if hit in gold), None)
                for hits, (_, gold) in zip(ranked, questions, strict=True)
            ]
            num_hits = sum(place is not None and place <= NUM_FIRST for place in places)
            share, low, high = (
                100 * value for value in (num_hits / len(places), *wilson(num_hits, len(places)))
            )
            mrr = np.mean([1 / place if place else 0 for place in places])
            recall = f"recall@{NUM_FIRST} {share:.1f}% ({low:.1f} to {high:.1f})"
            print(f"  {mode:8} {recall}, MRR@{DEPTH} {mrr:.3f}")


def measure_training(name: str, folder: Path, seconds: float | None) -> Iterator[str]:
    """Yields a line for each search, and the gain of training."""
    passages, _, pairs = SETS[name]()
    sides = split_pairs(pairs)
    context = FitContext(
        Models(), Metric("exact_match", "answer"), folder, Effort(search_seconds=seconds)
    )
    published = context.models.load_shared_encoder(ENCODER)
    started = time.perf_counter()
    tuned, facts = train_encoder(ENCODER, passages, sides["train"], sides["dev"], context)
    seconds = time.perf_counter() - started
    sizes = ", ".join(f"{len(rows)} {side}" for side, rows in sides.items())
    yield (
        f"{name}: {len(passages)} passages; questions: {sizes}; tuned in {seconds:.0f} s, "
        f"{facts['scores']}"
    )
    searches = {"keywords": Search(passages)}
    texts = [passage.text for passage in passages]
    for label, encoder in (("meaning", published), ("learned meaning", tuned)):
        searches[label] = Search(passages, "meaning", encoder, encoder.embed(texts))
        searches[f"keywords and {label}"] = replace(searches[label], mode="both")
    hits = {
        label: {depth: score_hits(search, sides["test"], depth) for depth in (1, NUM_FIRST)}
        for label, search in searches.items()
    }
    for label, by_depth in hits.items():
        figures = (
            f"recall@{depth} {_format_result(estimate(scores))}"
            for depth, scores in by_depth.items()
        )
        yield f"  {label}: {', '.join(figures)}"
    gain = newcombe_paired(hits["learned meaning"][1], hits["meaning"][1])
    yield f"  learned meaning before meaning, recall@1: {_format_result(gain)}"


def score_hits(search: Search, pairs: Sequence[Pair], depth: int) -> list[float]:
    """Returns 1 for each question whose passage is among the first hits, else 0."""
    ranked = search.find([question for question, _ in pairs], depth)
    return [float(place in row) for row, (_, place) in zip(ranked, pairs, strict=True)]


def split_pairs(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Splits the questions into sides; no passage is on two sides."""
    places = sorted({place for _, place in pairs})
    random.Random(0).shuffle(places)
    side_of = dict.fromkeys(places, "train")
    begin = 0
    for side, share in SHARES.items():
        end = begin + round(share * len(places))
        side_of |= dict.fromkeys(places[begin:end], side)
        begin = end
    return {
        side: [pair for pair in pairs if side_of[pair[1]] == side] for side in ("train", *SHARES)
    }


def prepare_run(folder: Path, methods: str) -> Path:
    """Creates a task folder: xquad_en with its paragraphs as documents. No paragraph has questions
    on two sides.
    """
    passages, _, pairs = xquad_en()
    (folder / "paragraphs").mkdir(parents=True, exist_ok=True)
    for passage in passages:
        (folder / "paragraphs" / passage.file).write_text(passage.text, encoding="utf-8")
    tested = {place for _, place in split_pairs(pairs)["test"]}
    sides: dict[str, list[dict[str, Any]]] = {"examples": [], "test": []}
    for row, (question, place) in zip(read_rows("xquad_en/xquad_en.jsonl"), pairs, strict=True):
        line = {"question": question, "answer": row["answer"], "paragraph": f"{place:03}"}
        sides["test" if place in tested else "examples"].append(line)
    for side, lines in sides.items():
        write_lines(folder / f"{side}.jsonl", lines)
    (folder / "task.yaml").write_text(TASK.replace("METHODS", methods).lstrip(), encoding="utf-8")
    return folder / "task.yaml"


def _format_result(result: Any) -> str:
    return f"{result.value:.1%} ({result.low:.1%} to {result.high:.1%}, n = {result.n})"


def main() -> None:
    """Runs the measurements that the flags select."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command")
    trained = commands.add_parser("trained")
    trained.add_argument("sets", nargs="+", choices=list(SETS))
    trained.add_argument("--seconds", type=float, help="limit of the training; default: none")
    ladder = commands.add_parser("ladder")
    ladder.add_argument("--budget", default="6m")
    ladder.add_argument("--methods", default="retrieval, fine_tune, fine_tune_retrieval")
    for command in (trained, ladder):
        command.add_argument(
            "--folder", type=Path, help="folder of the work; default: a temporary folder"
        )
    flags = parser.parse_args()
    if flags.command is None:
        measure_quality()
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or Path(temporary)
        if flags.command == "ladder":
            task = prepare_run(folder, flags.methods)
            sys.exit(etude(["compare", str(task), "--yes", "--budget", flags.budget]))
        for name in flags.sets:
            for line in measure_training(name, folder / name, flags.seconds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
