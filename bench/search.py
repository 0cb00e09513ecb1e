"""Measure how often search finds the right passage, and its time and memory with many passages.

    python bench/search.py                   recall@5 and MRR by keywords, by meaning and by both
    python bench/search.py --scale 100000    time and memory to index and search this many passages by keywords
    python bench/search.py --scale 100000 --encoder all-minilm-l6-v2    with the vectors of an encoder too

A question counts as found if one of its passages is among the first five. The right passage is, in xquad_en, the
paragraph of the question (240 paragraphs); in chunking_eval_corpora, the passage with one of its references or the
largest part of it (five long documents, searched together; every second question). The weight of keywords relative to
meaning was chosen only with the figures of --choose: pubmedqa_labelled, medquad_sample and the other half of the
questions of chunking_eval_corpora. Data: the folder named by ETUDE_DATA, else ../shared/data beside the checkout.
Passages for --scale are random sentences of medquad_sample joined together.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rapidfuzz.fuzz import partial_ratio

from etude.index.build import embed_texts
from etude.index.documents import read_passages
from etude.index.passages import Passage
from etude.index.search import Search
from etude.models.registry import Models
from etude.stats.intervals import wilson

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
ENCODER = "all-minilm-l6-v2"
REPORTED = ("xquad_en", "chunking_eval_corpora")
CHOSEN_ON = ("pubmedqa_labelled", "medquad_sample", "chunking_eval_other_half")
DEPTH, FOUND, QUESTIONS = 10, 5, 200

Questions = list[tuple[str, set[int]]]
"""Questions, each with the positions of its right passages."""


def read_rows(name: str) -> list[dict[str, object]]:
    """Reads the rows of a file of JSON lines."""
    with (DATA / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def xquad_en() -> tuple[list[Passage], Questions]:
    """Loads paragraphs of Wikipedia and questions about them."""
    rows = read_rows("xquad_en/xquad_en.jsonl")
    return _build_pairs((str(row["question"]), str(row["context"])) for row in rows)


def pubmedqa_labelled() -> tuple[list[Passage], Questions]:
    """Loads abstracts, each with the question in its title."""
    rows = read_rows("pubmedqa_labelled/pubmedqa.jsonl")
    return _build_pairs((str(row["question"]), "\n\n".join(row["contexts"])) for row in rows)  # type: ignore[arg-type]


def medquad_sample() -> tuple[list[Passage], Questions]:
    """Loads answers of medical institutes to 1,000 questions made from a template."""
    rows = read_rows("medquad_sample/medquad.jsonl")
    passages, asked = _build_pairs(
        (str(row["question"]), " ".join(str(row["answer"]).split()[:180])) for row in rows
    )
    merged: dict[str, set[int]] = {}
    for question, gold in asked:
        merged.setdefault(question, set()).update(gold)
    chosen = random.Random(0).sample(sorted(merged), 1000)
    return passages, [(question, merged[question]) for question in chosen]


def _build_pairs(pairs: Iterator[tuple[str, str]]) -> tuple[list[Passage], Questions]:
    held = list(pairs)
    places = {text: place for place, text in enumerate(dict.fromkeys(text for _, text in held))}
    passages = [Passage(text, f"{place}") for text, place in places.items()]
    return passages, [(question, {places[text]}) for question, text in held]


def chunking_eval_corpora(first: int = 1) -> tuple[list[Passage], Questions]:
    """Loads five long documents, split into passages as in a task, and every second question."""
    folder = DATA / "chunking_eval_corpora"
    passages = read_passages(folder / "corpora")
    texts: dict[str, dict[int, str]] = {}
    for place, passage in enumerate(passages):
        texts.setdefault(passage.file, {})[place] = _normalise(passage.text)
    with (folder / "questions_df.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    asked = []
    for row in rows:
        held = texts[f"{row['corpus_id']}.md"]
        references = [_normalise(each["content"]) for each in json.loads(row["references"])]
        asked.append((row["question"], set().union(*(_find_holders(each, held) for each in references))))
    return list(passages), asked[first::2]


def chunking_eval_other_half() -> tuple[list[Passage], Questions]:
    """Loads the questions that were used for choices."""
    return chunking_eval_corpora(0)


def _normalise(text: str) -> str:
    return " ".join(text.casefold().split())


def _find_holders(reference: str, texts: dict[int, str]) -> set[int]:
    holders = {place for place, text in texts.items() if reference in text}
    return holders or {max(texts, key=lambda place: partial_ratio(reference, texts[place]))}


def measure_quality(sets: Sequence[str]) -> None:
    """Prints a line for each set and search."""
    encoder = Models().load_shared_encoder(ENCODER)
    for name in sets:
        passages, asked = globals()[name]()
        vectors = encoder.embed([passage.text for passage in passages])
        print(f"{name}: {len(passages):,} passages, {len(asked):,} questions")
        for way in ("keyword", "meaning", "both"):
            search = Search(passages, way, *((encoder, vectors) if way != "keyword" else ()))
            ranked = search.find([question for question, _ in asked], DEPTH)
            places = [
                next((place for place, hit in enumerate(hits, 1) if hit in gold), None)
                for hits, (_, gold) in zip(ranked, asked, strict=True)
            ]
            found = sum(place is not None and place <= FOUND for place in places)
            low, high = wilson(found, len(places))
            mrr = np.mean([1 / place if place else 0 for place in places])
            share = 100 * found / len(places)
            print(
                f"  {way:8} recall@{FOUND} {share:.1f}% ({100 * low:.1f} to {100 * high:.1f}), MRR@{DEPTH} {mrr:.3f}"
            )


def measure_scale(num: int, encoder_name: str | None, most: int) -> None:
    """Prints time and memory for this many passages."""
    sentences = [
        sentence
        for row in read_rows("medquad_sample/medquad.jsonl")
        for sentence in re.split(r"(?<=[.?!])\s+", str(row["answer"]))
        if 4 < len(sentence.split()) < 60
    ]
    draw = random.Random(num)
    texts = ["\n".join(draw.choices(sentences, k=draw.randint(2, 8))) for _ in range(num)]
    questions = [
        str(row["question"]) for row in draw.sample(read_rows("medquad_sample/medquad.jsonl"), QUESTIONS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        del texts
        read = time_work(lambda: read_passages(file))
        passages = read_passages(file)[:num]
        search = Search(passages)
        words = time_work(lambda: search.keywords)
        average = np.mean([len(passage.text.split()) for passage in passages])
        print(f"{len(passages):,} passages of {average:.0f} words")
        print(f"  read {read:.1f} s, index of keywords {words:.1f} s")
        time_search("keyword", search, questions)
        if encoder_name:
            encoder = Models().load_shared_encoder(encoder_name)
            some, kept = [passage.text for passage in passages[:most]], Path(folder) / "vectors"
            embedded = time_work(lambda: embed_texts(some, encoder, kept, keep=True))
            again = time_work(lambda: embed_texts(some, encoder, kept, keep=True))
            rest = "" if num <= most else f", so about {embedded / most * num / 60:.1f} min for all"
            print(
                f"  {len(some):,} passages embedded in {embedded:.1f} s{rest}; unchanged ones in {again:.2f} s"
            )
            vectors, _ = embed_texts(some, encoder, kept)
            if num > most:  # the time of a search does not depend on the vectors
                shape = (num - most, vectors.shape[1])
                others = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
                vectors = np.concatenate([vectors, others / np.linalg.norm(others, axis=1, keepdims=True)])
            alone = time_work(lambda: [encoder.embed([question]) for question in questions[:50]]) / 50
            print(f"  to embed a question alone takes {1000 * alone:.1f} ms")
            for way in ("meaning", "both"):
                time_search(way, Search(passages, way, encoder, vectors, search.keywords), questions)
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def time_work(work: Callable[[], object]) -> float:
    """Measures the seconds of a function."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def time_search(way: str, search: Search, questions: Sequence[str]) -> None:
    """Prints the time of one question, and per question of 200 at once."""
    search.find(questions[:2], DEPTH)
    alone = time_work(lambda: [search.find([question], DEPTH) for question in questions[:50]]) / 50
    together = time_work(lambda: search.find(questions, DEPTH)) / len(questions)
    print(
        f"  {way:8} a question alone {1000 * alone:.1f} ms, among {len(questions)} {1000 * together:.1f} ms"
    )


def main() -> None:
    """Runs the measurements that the flags select."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=int, nargs="+", default=[], help="numbers of passages")
    parser.add_argument("--encoder", help="with --scale: also embed the passages")
    parser.add_argument(
        "--embed", type=int, default=2000, help="passages to embed; the others get random vectors"
    )
    parser.add_argument("--choose", action="store_true", help="use the sets with which settings were chosen")
    flags = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"the data sets are not at {DATA}; set ETUDE_DATA to the folder that holds them")
    for num in flags.scale:
        measure_scale(num, flags.encoder, flags.embed)
    if not flags.scale:
        measure_quality(
            ["pubmedqa_labelled", "medquad_sample"] if flags.choose else ["xquad_en", "chunking_eval_corpora"]
        )


if __name__ == "__main__":
    main()
