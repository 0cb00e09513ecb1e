"""Measure a search encoder that was trained on pairs of train, on other sets than Luma, and the answers with it.

    python bench/learned_search.py search xquad_en chunking_eval_corpora medquad_sample
    python bench/learned_search.py ladder --budget 6m

search: recall@1 and recall@5 before and after training, for questions whose passages no train or dev question needs.
ladder: `etude compare` on xquad_en, split by paragraph. Data: the folder named by ETUDE_DATA, else ../shared/data.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from real_sets import DATA, write_lines

from etude.cli import main as etude
from etude.index.passages import Passage, split_document
from etude.index.search import Search
from etude.methods.shared.fit_context import Effort, FitContext
from etude.methods.shared.fitted_search import train_encoder
from etude.metrics import Metric
from etude.models.registry import Models
from etude.stats import estimate
from etude.stats.paired import newcombe_paired

Pair = tuple[str, int]
SHARES = {"test": 0.25, "dev": 0.15}
"""Shares of the passages that answer questions; the others belong to train."""
FEW = 1_200
"""The number of rows of medquad_sample."""
DEPTHS = (1, 5)
ENCODER = "all-minilm-l6-v2"
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


def xquad_en() -> tuple[list[Passage], list[Pair]]:
    """Loads the 240 paragraphs and 1,190 questions of xquad_en."""
    rows = read_lines("xquad_en/xquad_en.jsonl")
    places = {text: place for place, text in enumerate(dict.fromkeys(row["context"] for row in rows))}
    return _build_passages(places), [(row["question"], places[row["context"]]) for row in rows]


def chunking_eval_corpora() -> tuple[list[Passage], list[Pair]]:
    """Loads five long documents, split as in a task, and the questions whose first reference is within one passage."""
    folder = DATA / "chunking_eval_corpora"
    passages = [
        passage
        for file in sorted((folder / "corpora").glob("*.md"))
        for passage in split_document(file.read_text(encoding="utf-8"), file.name)
    ]
    texts = [_normalise(passage.text) for passage in passages]
    pairs = []
    with (folder / "questions_df.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            wanted, file = _normalise(json.loads(row["references"])[0]["content"]), f"{row['corpus_id']}.md"
            found = (
                place for place, text in enumerate(texts) if wanted in text and passages[place].file == file
            )
            if (place := next(found, None)) is not None:
                pairs.append((row["question"], place))
    return passages, pairs


def medquad_sample() -> tuple[list[Passage], list[Pair]]:
    """Loads the answers of one institute, each the passage of its question. Questions with two answers are left
    out."""
    rows = [row for row in read_lines("medquad_sample/medquad.jsonl") if "NIDDK" in row["source"]][:FEW]
    places = {text: place for place, text in enumerate(dict.fromkeys(row["answer"] for row in rows))}
    answers: dict[str, set[int]] = {}
    for row in rows:
        answers.setdefault(row["question"], set()).add(places[row["answer"]])
    return _build_passages(places), [(asked, *found) for asked, found in answers.items() if len(found) == 1]


SETS: Mapping[str, Callable[[], tuple[list[Passage], list[Pair]]]] = {
    each.__name__: each for each in (xquad_en, chunking_eval_corpora, medquad_sample)
}


def main() -> None:
    """Runs the measurements that the flags select."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    search = commands.add_parser("search")
    search.add_argument("sets", nargs="+", choices=list(SETS))
    search.add_argument("--epochs", type=int, help="maximum of epochs; default: as without a budget")
    search.add_argument("--folder", type=Path, help="folder for the training, which can then be resumed")
    ladder = commands.add_parser("ladder")
    ladder.add_argument("--budget", default="6m")
    ladder.add_argument("--methods", default="retrieval, fine_tune, fine_tune_retrieval")
    ladder.add_argument("--folder", type=Path, help="folder for the run; default: a temporary folder")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if flags.command == "ladder":
            folder = flags.folder or Path(temporary)
            task = prepare_run(folder, flags.methods)
            sys.exit(etude(["compare", str(task), "--yes", "--budget", flags.budget]))
        for name in flags.sets:
            for line in measure_set(name, (flags.folder or Path(temporary)) / name, flags.epochs):
                print(line, flush=True)


def measure_set(name: str, folder: Path, epochs: int | None) -> Iterator[str]:
    """Prints a line for each search, and the gain of training."""
    passages, pairs = SETS[name]()
    sides = split_pairs(pairs)
    context = FitContext(Models(), Metric("exact_match", "answer"), folder, Effort(search_epochs=epochs))
    published = context.models.load_shared_encoder(ENCODER)
    started = time.perf_counter()
    tuned, facts = train_encoder(ENCODER, passages, sides["train"], sides["dev"], context)
    seconds = time.perf_counter() - started
    sizes = ", ".join(f"{len(rows)} {side}" for side, rows in sides.items())
    yield f"{name}: {len(passages)} passages; questions: {sizes}; tuned in {seconds:.0f} s, {facts['scores']}"
    found = {"keywords": Search(passages)}
    texts = [passage.text for passage in passages]
    for label, encoder in (("meaning", published), ("learned meaning", tuned)):
        found[label] = Search(passages, "meaning", encoder, encoder.embed(texts))
        found[f"keywords and {label}"] = replace(found[label], mode="both")
    hits = {
        label: {depth: score_hits(each, sides["test"], depth) for depth in DEPTHS}
        for label, each in found.items()
    }
    for label, by_depth in hits.items():
        figures = (f"recall@{depth} {_format_result(estimate(by_depth[depth]))}" for depth in DEPTHS)
        yield f"  {label}: {', '.join(figures)}"
    gain = newcombe_paired(hits["learned meaning"][1], hits["meaning"][1])
    yield f"  learned meaning before meaning, recall@1: {_format_result(gain)}"


def score_hits(search: Search, pairs: Sequence[Pair], depth: int) -> list[float]:
    """Returns 1 for each question whose passage is among the first hits, else 0."""
    ranked = search.find([asked for asked, _ in pairs], depth)
    return [float(place in row) for row, (_, place) in zip(ranked, pairs, strict=True)]


def split_pairs(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Splits the questions into sides; no passage is on two sides."""
    places = sorted({place for _, place in pairs})
    random.Random(0).shuffle(places)
    side_of = dict.fromkeys(places, "train")
    begin = 0
    for side, portion in SHARES.items():
        end = begin + round(portion * len(places))
        side_of |= dict.fromkeys(places[begin:end], side)
        begin = end
    return {side: [pair for pair in pairs if side_of[pair[1]] == side] for side in ("train", *SHARES)}


def prepare_run(folder: Path, methods: str) -> Path:
    """Creates a task folder: xquad_en with its paragraphs as documents. No paragraph has questions on two sides."""
    rows = read_lines("xquad_en/xquad_en.jsonl")
    passages, pairs = xquad_en()
    (folder / "paragraphs").mkdir(parents=True, exist_ok=True)
    for place, passage in enumerate(passages):
        (folder / "paragraphs" / f"{place:03}.txt").write_text(passage.text, encoding="utf-8")
    tested = {place for _, place in split_pairs(pairs)["test"]}
    sides: dict[str, list[dict[str, Any]]] = {"examples": [], "test": []}
    for row, (_, place) in zip(rows, pairs, strict=True):
        kept = {"question": row["question"], "answer": row["answer"], "paragraph": f"{place:03}"}
        sides["test" if place in tested else "examples"].append(kept)
    for side, kept_rows in sides.items():
        write_lines(folder / f"{side}.jsonl", kept_rows)
    (folder / "task.yaml").write_text(TASK.replace("METHODS", methods).lstrip(), encoding="utf-8")
    return folder / "task.yaml"


def read_lines(file: str) -> list[dict[str, Any]]:
    """Reads the rows of a set. Exits with the reason if it does not exist."""
    path = DATA / file
    if not path.is_file():
        sys.exit(f"{path} is not there; set ETUDE_DATA to the folder that holds it")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _build_passages(texts: Mapping[str, int]) -> list[Passage]:
    return [Passage(text, f"{place:04}.txt") for text, place in texts.items()]


def _normalise(text: str) -> str:
    return " ".join(text.casefold().split())


def _format_result(found: Any) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%}, n = {found.n})"


if __name__ == "__main__":
    main()
