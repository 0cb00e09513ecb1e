"""A small task with several questions about each row, for tests that run whole comparisons with the
fake model.
"""

import json
import random
from pathlib import Path
from typing import Any

WORDS = {
    "delivery": "parcel courier depot",
    "refund": "money invoice paid",
    "tone": "rude shouting insult",
}
MOODS = ["awful", "poor", "fine", "pleasant", "superb"]
QUESTIONS = """questions:
  topic:
    ask: What is it about?
    labels: {delivery: a late parcel, refund: money, tone: bad manners}
  urgent: [yes, no]
  mood:
    ask: How does the customer feel?
    scale: [1, 2, 3, 4, 5]
    column: stars
"""
LABELS = {"topic": [*WORDS], "urgent": ["yes", "no"], "mood": ["1", "2", "3", "4", "5"]}


def make_question_rows(num: int = 220, seed: int = 0) -> list[dict[str, Any]]:
    """Complaints whose words say what they are about, whether they are urgent, and how the customer
    feels.
    """
    draw = random.Random(seed)
    rows = []
    for number in range(num):
        topic = draw.choice([*WORDS])
        urgent = draw.random() < 0.3
        stars = draw.randint(1, 5)
        filler = "".join(draw.choices("abcdefghij", k=12))
        words = f"{' '.join(draw.sample(WORDS[topic].split(), 2))} it was {MOODS[stars - 1]}"
        text = f"{number} {filler} {words}{' hurry now' if urgent else ''}"
        rows.append({"text": text, "topic": topic, "urgent": urgent, "stars": stars})
    return rows


def write_question_task(
    folder: Path,
    rows: list[dict[str, Any]],
    more: str = "",
    source: str = "input: text",
    model: str = "fake",
) -> Path:
    """The task of these rows, as JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    settings = f"kind: classify\nmodel: {model}\nexamples: {{file: rows.jsonl, {source}}}\n"
    encoder = "" if "encoder:" in more else "encoder: none\n"
    (folder / "task.yaml").write_text(f"{settings}{encoder}{QUESTIONS}{more}", encoding="utf-8")
    return folder / "task.yaml"
