"""Measure how many invented and false statements of crafted answers the grounding rules find, and
their false alarms.

    python bench/grounding.py [--all]      seconds; --all prints each answer with what was found

Passages and answers are in grounding.yaml and grounding_described.yaml, which say when they were
written. An answer is found if it contains an invented name or number, or if its cited passages do
not support it.
"""

import sys
from collections import defaultdict
from pathlib import Path

import yaml

from etude.index.passages import Passage
from etude.stats.intervals import wilson
from etude.suites.measures.grounding import Grounds


def main() -> None:
    """Print a line for each kind of answer."""
    for file in ("grounding.yaml", "grounding_described.yaml"):
        content = yaml.safe_load(Path(__file__).with_name(file).read_text(encoding="utf-8"))
        for name in sorted(
            key.removesuffix("answers") for key in content if key.endswith("answers")
        ):
            print(f"{file} {name}:")
            measure(content[f"{name}passages"], content[f"{name}answers"])


def measure(passages: dict[str, str], answers: list[dict]) -> None:
    """Print the shares of these answers that are found."""
    grounds = Grounds.from_passages([Passage(text, name) for name, text in passages.items()], [])
    found = defaultdict(list)
    for row in answers:
        invented = grounds.find_invented(row["answer"], row["ask"])
        is_supported = grounds.is_supported(row["answer"], row["ask"], row["cited"])
        found[row["kind"]].append((bool(invented), bool(invented) or not is_supported))
        if "--all" in sys.argv:
            print(
                row["kind"],
                invented,
                "supported" if is_supported else "not supported",
                row["answer"],
            )
    for kind, rows in found.items():
        for name, number in (
            ("invented", sum(a for a, _ in rows)),
            ("either", sum(b for _, b in rows)),
        ):
            low, high = wilson(number, len(rows))
            print(f"{kind}, {name}: {number} of {len(rows)} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
