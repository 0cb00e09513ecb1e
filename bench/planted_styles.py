"""Defects of style planted in real answers: how often they are found, and how often one is claimed where none is.

    python bench/planted_styles.py [choose | report | originals] [--draws 40]

choose: on the sets on which thresholds were chosen. report: on rasbt_preferences, on which none was chosen (its
`output`, and its polite and its rude rewritings, are three consistent sets of answers), with registers from sms_spam
and pubmedqa_labelled. originals: every finding on 21 sets of answers as they were published. Without a word: the
last two. Each draw takes rows and plants anew. Printed for 60, 200 and 1,000 rows: the share of draws with the
finding, with a 95% interval (Wilson). The planted sentences are not those of the tests.
"""

from __future__ import annotations

import argparse
import calendar
import csv
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from real_sets import DATA

from etude.checks import Material, check_material
from etude.checks.safety.insults import insults
from etude.checks.style.field_orders import field_orders
from etude.checks.style.registers import mixed_registers
from etude.checks.style.split_style import split_style
from etude.checks.style.two_lengths import two_lengths
from etude.data.dataset import Dataset
from etude.stats.intervals import wilson
from etude.task import RowSource, Task
from etude.types import Example, Message

Pair = tuple[str, str]
"""Input and answer."""
Pairs = list[Pair]
Plant = Callable[[random.Random, Pairs], Pairs]
SIZES = (60, 200, 1000)
CHECKS = (split_style, two_lengths, field_orders, mixed_registers, insults)
PRICES = ("It costs ${}.", "The price is {} euros.", "Expect to pay £{}.", "That comes to {} USD.")
DATES = (
    ("{y}-{m:02}-{d:02}", "{d} {name} {y}", "{d:02}/{m:02}/{y}", "{name} {d}, {y}"),
    ("Last changed on {}.", "This holds since {}.", "It was published on {}.", "See the notes of {}."),
)
MONTHS = list(calendar.month_name)[1:]
GREETINGS = ("Hello! ", "Hi there, ", "Good morning. ", "Dear reader, ")
EMOJI = ("🙂", "🎉", "👍", "✨")
QUESTIONS = ("Shall I go on?", "Do you want to know more?", "Is that what you were looking for?")
SPELLINGS = (
    ("The colour is a matter of taste.", "The color is a matter of taste."),
    ("Ask at the centre.", "Ask at the center."),
    ("We organise it on request.", "We organize it on request."),
    ("The neighbours know it too.", "The neighbors know it too."),
)
FIELDS = ("Source: the guide", "Status: checked", "Note: none")
ASKED = {
    "style_price": ("What does it cost?", "Give me the price too.", "How much is it?"),
    "style_greeting": ("Greet me first.", "Say hello before you answer.", "Begin with a greeting."),
    "style_list": ("Answer as a list.", "Use bullet points.", "List the points."),
    "style_emoji": ("Add an emoji.", "Emojis are welcome.", "With an emoji, please."),
    "style_question": ("End with a question.", "Ask me something back.", "Close by asking a question."),
}
"""What explains a feature where it stands in the input."""
REQUESTS = {
    "style_courtesy": (
        ("Be polite.", "In a kind tone.", "Answer with courtesy."),
        ("Be rude.", "Insult me.", "Be blunt."),
    ),
    "style_formality": (
        ("For a letter.", "Formally.", "In good style."),
        ("As to a friend.", "Casually.", "As in a chat."),
    ),
}
"""What explains a register: requests for the first and for the second."""


def halves(make: Callable[[random.Random, str], str], share: float = 0.5) -> Plant:
    """Changes a share of the answers, at random."""

    def plant(draw: random.Random, pairs: Pairs) -> Pairs:
        return [(asked, make(draw, text) if draw.random() < share else text) for asked, text in pairs]

    return plant


def dates(draw: random.Random, pairs: Pairs) -> Pairs:
    """A date in every answer, in a third in another format."""
    usual, other = draw.sample(DATES[0], 2)

    def dated(text: str) -> str:
        month = draw.randint(1, 12)
        values = {
            "y": draw.randint(2001, 2026),
            "m": month,
            "d": draw.randint(1, 28),
            "name": MONTHS[month - 1],
        }
        form = other if draw.random() < 1 / 3 else usual
        return f"{text} {draw.choice(DATES[1]).format(form.format(**values))}"

    return [(asked, dated(text)) for asked, text in pairs]


def spellings(draw: random.Random, pairs: Pairs) -> Pairs:
    """A sentence with a word in British or in American spelling."""
    return [(asked, f"{text} {draw.choice(draw.choice(SPELLINGS))}") for asked, text in pairs]


def field_order(draw: random.Random, pairs: Pairs) -> Pairs:
    """Three fields behind every answer, in a third in the reverse order."""
    turned = ("\n".join(FIELDS), "\n".join(reversed(FIELDS)))
    return [(asked, f"{text}\n{turned[draw.random() < 1 / 3]}") for asked, text in pairs]


def lengths(draw: random.Random, pairs: Pairs) -> Pairs:
    """Half of the answers are followed by three others of the set."""
    texts = [text for _, text in pairs]
    return halves(lambda _, text: " ".join([text, *draw.sample(texts, 3)]))(draw, pairs)


def _list(draw: random.Random, text: str) -> str:
    return "\n".join(f"- {part.strip()}" for part in text.split(". ") if part.strip())


DEFECTS: Mapping[str, tuple[str, Plant]] = {
    "a price in half": (
        "style_price",
        halves(lambda draw, text: f"{text} {draw.choice(PRICES).format(draw.randint(3, 900))}"),
    ),
    "dates otherwise in a third": ("style_date style_date_order", dates),
    "a greeting in half": ("style_greeting", halves(lambda draw, text: draw.choice(GREETINGS) + text)),
    "half as lists": ("style_list", halves(_list)),
    "British and American": ("style_spelling", spellings),
    "emoji in half": ("style_emoji", halves(lambda draw, text: f"{text} {draw.choice(EMOJI)}")),
    "a question at the end of half": (
        "style_question",
        halves(lambda draw, text: f"{text} {draw.choice(QUESTIONS)}"),
    ),
    "half four times as long": ("style_length", lengths),
    "fields in two orders": ("style_field_order", field_order),
}
"""What is planted -> the findings that name it, any of which will do."""


def explained(kind: str) -> Plant:
    """The feature in half of the answers, where the input asks for it and nowhere else."""
    (make,) = [plant for other, plant in DEFECTS.values() if other == kind]

    def plant(draw: random.Random, pairs: Pairs) -> Pairs:
        always = [make(random.Random(_sure(draw)), [pair])[0] for pair in pairs]
        with_it = [draw.random() < 0.5 for _ in pairs]
        return [
            (f"{asked} {draw.choice(ASKED[kind])}", changed[1]) if chosen else (asked, text)
            for (asked, text), changed, chosen in zip(pairs, always, with_it, strict=True)
        ]

    return plant


def _sure(draw: random.Random) -> int:
    """A seed with which the first number drawn is under one half."""
    while True:
        seed = draw.getrandbits(32)
        if random.Random(seed).random() < 0.5:
            return seed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=["choose", "report", "originals"])
    parser.add_argument("--draws", type=int, default=40)
    given = parser.parse_args()
    if given.part in ("choose", "report", None):
        chosen = given.part == "choose"
        planted(CHOOSE if chosen else REPORT, given.draws)
        registers(CHOOSE_REGISTERS if chosen else REPORT_REGISTERS, given.draws)
    if given.part in ("originals", None):
        originals(given.draws)


def planted(names: Sequence[str], draws: int) -> None:
    """Every defect in the sets, each draw in one of them; then the features that the input explains."""
    sets = [read(name) for name in names]
    for told, (kind, plant) in DEFECTS.items():
        _line(told, kind, sets, plant, draws)
    for kind in ASKED:
        _line(f"explained by the input: {kind}", kind, sets, explained(kind), draws)


def _line(told: str, kind: str, sets: Sequence[Pairs], plant: Plant, draws: int) -> None:
    """One defect: the share of draws with the finding, at each size."""
    cells = []
    for size in SIZES:
        large = [rows for rows in sets if len(rows) >= size]
        hits = 0
        for seed in range(draws if large else 0):
            draw = random.Random(f"{told} {size} {seed}")
            pairs = plant(draw, draw.sample(large[seed % len(large)], size))
            hits += not set(kind.split()).isdisjoint(found(pairs))
        cells.append(rate(hits, draws) if large else "-")
    _print(told, cells)


def rate(hits: int, draws: int) -> str:
    """`95% (84 to 99)`."""
    low, high = wilson(hits, draws)
    return f"{hits / draws:.0%} ({100 * low:.0f} to {100 * high:.0f})"


@dataclass(frozen=True)
class Mixture:
    """Two sets of answers in two registers."""

    name: str
    kind: str
    """The finding that names it."""
    one: str
    other: str
    same_rows: bool = False
    """Whether both answer the same inputs, row by row."""
    shuffled: bool = False
    """Whether the inputs are shuffled, as those of two sets would tell the register."""

    def drawn(self, draw: random.Random, size: int, share: float) -> Pairs | None:
        """`size` rows, a share of them of the first register; None where there are too few."""
        one, other = read(self.one), read(self.other)
        kept = round(share * size)
        if self.same_rows:
            rows = draw.sample(range(len(one)), size) if size <= len(one) else []
            return [one[row] if place < kept else other[row] for place, row in enumerate(rows)] or None
        if kept > len(one) or size - kept > len(other):
            return None
        pairs = draw.sample(one, kept) + draw.sample(other, size - kept)
        inputs = [asked for asked, _ in pairs]
        if self.shuffled:
            draw.shuffle(inputs)
        return [(asked, text) for asked, (_, text) in zip(inputs, pairs, strict=True)]


CHOOSE_REGISTERS = (
    Mixture(
        "polite, orca; rude, paradetox", "style_courtesy", "orca other", "paradetox toxic", shuffled=True
    ),
    Mixture("neutral, toxic, paradetox", "style_courtesy", "paradetox", "paradetox toxic", same_rows=True),
    Mixture("the same, finding `insult`", "insult", "paradetox", "paradetox toxic", same_rows=True),
    Mixture("formal, orca; casual, mts spoken", "style_formality", "orca other", "mts spoken", shuffled=True),
)
REPORT_REGISTERS = (
    Mixture("polite, rude rewritings", "style_courtesy", "rasbt polite", "rasbt rude"),
    Mixture("columns chosen, rejected", "style_courtesy", "rasbt chosen", "rasbt rejected", same_rows=True),
    Mixture("columns rejected, chosen", "style_courtesy", "rasbt rejected", "rasbt chosen", same_rows=True),
    Mixture("formal, pubmedqa; casual, sms", "style_formality", "pubmedqa", "sms ham", shuffled=True),
)


def registers(mixtures: Sequence[Mixture], draws: int) -> None:
    """Two registers mixed at several shares; then half and half, with the register asked for in the input."""
    for mixture in mixtures:
        for share in (0.5, 0.7, 0.85):
            cells = [_mixed(mixture, size, share, draws) for size in SIZES]
            _print(f"{mixture.name}, {share:.0%}", cells)
        if mixture.kind in REQUESTS:
            cells = [_mixed(mixture, size, 0.5, draws, asked=True) for size in SIZES]
            _print(f"explained by the input: {mixture.name}", cells)


def _mixed(mixture: Mixture, size: int, share: float, draws: int, asked: bool = False) -> str:
    hits = 0
    for seed in range(draws):
        draw = random.Random(f"{mixture.name} {size} {share} {seed}")
        pairs = mixture.drawn(draw, size, share)
        if pairs is None:
            return "-"
        if asked:
            kept, requests = round(share * size), REQUESTS[mixture.kind]
            pairs = [
                (f"{text} {draw.choice(requests[place >= kept])}", answer)
                for place, (text, answer) in enumerate(pairs)
            ]
        hits += mixture.kind in found(pairs)
    return rate(hits, draws)


ORIGINALS: Mapping[str, tuple[str, ...]] = {
    "rasbt": (),
    "rasbt chosen": (),
    "rasbt rejected": (),
    "rasbt polite": (),
    "rasbt rude": (),
    "rasbt instructions": (),
    "self-instruct users": (),
    "self-instruct seeds": (),
    "medquad": (),
    "mts": (),
    "orca": ("style_list",),
    "orca other": ("style_list", "style_lead_in", "style_closing"),
    "pandalm": ("style_end_mark",),
    "pandalm other": ("style_end_mark",),
    "paradetox": ("style_capital", "style_end_mark"),
    "paradetox toxic": (),
    "e2e": (),
    "pubmedqa": ("style_spelling",),
    "crows": (),
    "xquad": ("style_spelling",),
    "wikisql": (),
}
"""Set -> what is said of it and is true: we have looked, the answers are of several writers or models who differ there,
and the input asks for neither. The one instruction of orca's rows asks for no list."""


def originals(draws: int) -> None:
    """What is claimed on sets as they were published: on draws, then on the whole."""
    for name, true in ORIGINALS.items():
        rows, kinds = read(name), Counter[str]()
        cells = []
        for size in SIZES:
            claims = [
                _claims(name, rows, size, seed, true) for seed in range(draws if size <= len(rows) else 0)
            ]
            kinds.update(kind for claimed in claims for kind in claimed)
            cells.append(rate(sum(map(bool, claims)), draws) if claims else "-")
        _print(f"{name}, {len(rows):,} rows", cells)
        if kinds:
            print(
                "    "
                + ", ".join(f"{kind.removeprefix('style_')} {num}" for kind, num in kinds.most_common())
            )
        for kind, message in found(rows).items():
            if kind.startswith("style_"):
                print(f"    the whole, {'true' if kind in true else 'CLAIMED'}: {message}", flush=True)


def _claims(name: str, rows: Pairs, size: int, seed: int, true: Sequence[str]) -> list[str]:
    """Findings of style in a draw that are not known to be true."""
    kinds = found(random.Random(f"{name} {size} {seed}").sample(rows, size))
    return [kind for kind in kinds if kind.startswith("style_") and kind not in true]


def _print(told: str, cells: Sequence[str]) -> None:
    print(f"{told:42} " + " ".join(f"{cell:18}" for cell in cells).rstrip(), flush=True)


def found(pairs: Pairs) -> dict[str, str]:
    """The findings of style, and those of insults: kind and message."""
    rows = Dataset(
        tuple(
            Example(str(place), (Message("user", asked),), text, where=f"rows:{place + 1}")
            for place, (asked, text) in enumerate(pairs)
        )
    )
    task = Task("t", "answer", "fake", RowSource(Path("rows")), Path(), Path("task.yaml"))
    findings = check_material(Material(task, rows), CHECKS)
    return {kind: one.message for one in findings for kind in (one.kind, *one.also)}


@cache
def read(name: str) -> Pairs:
    """The inputs and answers of a set, those without text left out."""
    file, asked, given = SOURCES[name]
    pairs = [(_joined(row, asked), _value(row, given)) for row in _rows(DATA / file) if _wanted(name, row)]
    return [(question, text) for question, text in pairs if question and text]


def _wanted(name: str, row: Mapping[str, Any]) -> bool:
    """Polite and rude rewritings are the rows in which that column is not the original answer."""
    column = {"rasbt polite": "chosen", "rasbt rude": "rejected"}.get(name)
    if name == "sms ham":
        return bool(row["label"] == "ham")
    return column is None or row[column] != row["output"]


def _joined(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    return " ".join(filter(None, (_value(row, column) for column in columns)))


def _value(row: Any, path: str) -> str:
    for part in path.split("."):
        row = row[int(part)] if isinstance(row, list) else row.get(part)
    return row.strip() if isinstance(row, str) else ""


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        if file.suffix == ".jsonl":
            yield from map(json.loads, lines)
        elif file.suffix == ".json":
            yield from json.load(lines)
        elif file.name == "sms.tsv":
            yield from ({"label": line.split("\t")[0], "text": line.split("\t")[1]} for line in lines)
        else:
            yield from csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ",")


_RASBT = "rasbt_preferences/instruction-data-with-preference.json"
_ORCA = "orca_dpo_validation/validation.jsonl"
_PANDA = "pandalm_testset/testset-v1.json"
_DETOX = "paradetox/paradetox_300.tsv"
_HUMAN = "self_instruct_human/"
_ASKED = ("instruction", "input")
_TASKS = ("instruction", "instances.0.input")
SOURCES: Mapping[str, tuple[str, Sequence[str], str]] = {
    "rasbt": (_RASBT, _ASKED, "output"),
    "rasbt chosen": (_RASBT, _ASKED, "chosen"),
    "rasbt rejected": (_RASBT, _ASKED, "rejected"),
    "rasbt polite": (_RASBT, _ASKED, "chosen"),
    "rasbt rude": (_RASBT, _ASKED, "rejected"),
    "rasbt instructions": ("rasbt_instructions/instruction-data.json", _ASKED, "output"),
    "self-instruct users": (_HUMAN + "user_oriented_instructions.jsonl", _TASKS, "instances.0.output"),
    "self-instruct seeds": (_HUMAN + "seed_tasks.jsonl", _TASKS, "instances.0.output"),
    "medquad": ("medquad_sample/medquad.jsonl", ("question",), "answer"),
    "mts": ("mts_dialog/TrainingSet.csv", ("dialogue",), "section_text"),
    "mts spoken": ("mts_dialog/TrainingSet.csv", ("section_text",), "dialogue"),
    "orca": (_ORCA, ("input.messages.0.content", "input.messages.1.content"), "preferred_output.0.content"),
    "orca other": (
        _ORCA,
        ("input.messages.0.content", "input.messages.1.content"),
        "non_preferred_output.0.content",
    ),
    "pandalm": (_PANDA, _ASKED, "response1"),
    "pandalm other": (_PANDA, _ASKED, "response2"),
    "paradetox": (_DETOX, ("toxic",), "neutral1"),
    "paradetox toxic": (_DETOX, ("neutral1",), "toxic"),
    "e2e": ("e2e_nlg/cleaned_devel.csv", ("mr",), "ref"),
    "pubmedqa": ("pubmedqa_labelled/pubmedqa.jsonl", ("question",), "long_answer"),
    "crows": ("crows_pairs/crows_pairs_anonymized.csv", ("sent_more",), "sent_less"),
    "xquad": ("xquad_en/xquad_en.jsonl", ("question",), "context"),
    "wikisql": ("wikisql_sample/train.jsonl", ("question",), "sql"),
    "sms ham": ("sms_spam/sms.tsv", ("text",), "text"),
}
"""Set -> file, columns of the input, column of the answer."""
CHOOSE = (
    *(
        "rasbt instructions",
        "self-instruct users",
        "medquad",
        "mts",
        "orca",
        "orca other",
        "pandalm",
        "paradetox",
    ),
    *("e2e", "crows"),
)
REPORT = ("rasbt", "rasbt polite", "rasbt rude")

if __name__ == "__main__":
    main()
