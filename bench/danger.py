"""Measure how many people in danger the limit `danger` finds, and how many other questions it takes
for danger.

    python bench/danger.py
        the project's questions by other authors than the clauses', and public sets
    python bench/danger.py FILE.yaml
        also your own: names and lists of questions, or of [first turn, second turn]

The limit is fitted on Luma's rows. No model answers, and nothing was chosen on these questions. "In
a request" puts the sentence before a request for a book; "second turn" asks it after an answered
request; "in other forms" is the least and the most that were found with another mark at the end, in
capitals, with a greeting and others. Needs the data sets of ../shared/data (ETUDE_DATA elsewhere).
"""

import sys
from pathlib import Path

import yaml
from real_sets import read_rows

from etude.data.dataset import load_dataset
from etude.index.build import DEFAULT_ENCODER
from etude.limits.clauses import find_clause_limits
from etude.limits.fit import fit_danger
from etude.models.registry import Models
from etude.stats import wilson
from etude.suites.cases import read_suite
from etude.suites.run import PACKS
from etude.task import load_task
from etude.task.definition import Limit
from etude.types import Message

ROOT = Path(__file__).parents[1]
DANGER = {"self-harm", "minors", "a child in trouble"}
HARMLESS = {"harmless look-alike", "scary words in harmless requests"}
REQUEST = "I am 9. {}. Do you have a book about that?"
BOOK = "Title: The Lost Kite"
OTHER_FORMS = ("{}", "{}.", "{}!!!", "HI {}", "Hi Luma, {}", "pls help {}", "{} 😭", "{}. Thanks!")
Chat = tuple[Message, ...]


def main() -> None:
    """Print a table."""
    encoder = Models().load_shared_encoder(DEFAULT_ENCODER)
    task, rows = load_dataset(load_task(ROOT / "examples" / "luma"))
    danger, notes = fit_danger(Limit("danger", "Call."), task, list(rows), encoder)
    print(*notes, sep="\n")
    print(
        "| questions | n | taken for danger | in a request | second turn | in other forms |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for name, questions in read_sets().items():
        single = [text for text in questions if isinstance(text, str)]
        forms = {
            "alone": [to_chat(text) for text in questions],
            "in a request": [(Message("user", change(text, REQUEST)),) for text in single],
            "second turn": [
                (
                    Message("user", "A book about kites, please."),
                    Message("assistant", BOOK),
                    Message("user", text),
                )
                for text in single
            ],
        }
        cells = list[str]()
        for chats in forms.values():
            if not chats:  # all questions have two turns
                cells.append("")
                continue
            limits = find_clause_limits([danger], chats, encoder)
            low, high = wilson(num := sum(map(bool, limits)), len(chats))
            cells.append(f"{num / len(chats):.1%} ({low:.1%} to {high:.1%})")
        nums = []
        for form in OTHER_FORMS:
            changed = [
                (*chat[:-1], Message("user", change(chat[-1].content, form)))
                for chat in forms["alone"]
            ]
            nums.append(sum(map(bool, find_clause_limits([danger], changed, encoder))))
        cells.append(f"{min(nums)} to {max(nums)} of {len(questions)}")
        print(f"| {name} | {len(questions)} | {' | '.join(cells)} |", flush=True)


def to_chat(question: str | list[str]) -> Chat:
    """Returns a chat of one turn, or of two with an answer between them."""
    if isinstance(question, str):
        return (Message("user", question),)
    return Message("user", question[0]), Message("assistant", BOOK), Message("user", question[1])


def change(text: str, form: str) -> str:
    """Write a question in another form; capitals if the form is in capitals."""
    changed = form.format(text.rstrip(" .!?"))
    return changed.upper() if form.isupper() else changed


def read_sets() -> dict[str, list[str | list[str]]]:
    """Returns the name of each set -> its questions; few of a big public set, evenly."""
    entries = [
        entry
        for file in (*PACKS.glob("*.yaml"), ROOT / "examples/luma/suite.yaml")
        for entry in read_suite(file).entries
    ]
    asked = {
        topics: [
            text
            for entry in entries
            if entry.case.about in topics
            for text in entry.ask
            if "{row}" not in text
        ]
        for topics in map(frozenset, (DANGER, HARMLESS))
    }
    prompts = read_rows("xstest/xstest_prompts.csv")
    sets = {
        "suites: danger": asked[frozenset(DANGER)],
        "suites: look-alikes": asked[frozenset(HARMLESS)],
        "xstest: safe": [row["prompt"] for row in prompts if row["label"] == "safe"],
        "xstest: unsafe": [row["prompt"] for row in prompts if row["label"] == "unsafe"],
        "luma: test rows": [row["input"] for row in read_rows(ROOT / "examples/luma/test.jsonl")],
        "banking77: test rows": [row["text"] for row in read_rows("banking77/test.csv")[::20]],
        "snips: test rows": [row["text"] for row in read_rows("snips_intents/validate.jsonl")[::4]],
    }
    for file in map(Path, sys.argv[1:]):
        sets |= {
            f"{file.stem}: {name}": texts
            for name, texts in yaml.safe_load(file.read_text("utf-8")).items()
        }
    return sets


if __name__ == "__main__":
    main()
