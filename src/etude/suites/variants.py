"""Cases made from the user's dev rows: unchanged, rewritten by rule, and inserted into patterns of suites."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from etude.data.dataset import Dataset
from etude.data.formats.tools import format_results, split_calls, split_results
from etude.evaluate import get_unit
from etude.suites.cases import OTHER_LABEL, OTHER_ROW, RESULT, RIGHT_CALL, ROW, Case, Entry, to_chat
from etude.text.variants import VARIANTS
from etude.types import Act, Example

DEV_ROWS = "dev rows"  # `about` of cases that are unchanged dev rows


@dataclass(frozen=True)
class CaseRows:
    """The dev rows from which cases are made, and the number of rows for each pattern."""

    dev: Dataset
    rows_per_pattern: int
    seed: int
    read_act: Callable[[Example], Act]  # reads the act of a row's output, since rows may teach refusals
    labels: tuple[str, ...] = ()

    def sample(self, name: str, min_rows: int = 1, text: str = ROW) -> list[Example]:
        """Sample rows that fit the placeholders of a text, at least `min_rows` if there are enough."""
        rng = random.Random(f"{self.seed}/{name}")
        rows = [row for row in self.dev if _fits(row, text)]
        return rng.sample(rows, min(max(self.rows_per_pattern, min_rows), len(rows)))


def _fits(row: Example, text: str) -> bool:
    """Whether a row's last turn has results where they are asked for, and its answer calls."""
    has_results, has_call = bool(split_results(row.input[-1].content)), bool(split_calls(row.output)[1])
    return has_results == (RESULT in text) and (has_call or RIGHT_CALL not in text)


def build_original_case(row: Example, rows: CaseRows) -> Case:
    """Build the case of an unchanged dev row."""
    expect = (rows.read_act(row),)
    return Case(
        f"normal/{row.id}",
        "normal",
        DEV_ROWS,
        row.input,
        expect,
        example=row,
        unit=get_unit(row),
        location=row.location,
    )


def rewrite_rows(rows: CaseRows) -> Iterator[Case]:
    """Rewrite rows by rule, for the suite `unusual`."""
    for name, change in VARIANTS.items():
        # Each variant has rows of its own, because the cases of one row count as one unit.
        for row in rows.sample(f"rewritten/{name}"):
            rng = random.Random(f"{rows.seed}/{name}/{row.id}")
            turns = (*row.input[:-1], replace(row.input[-1], content=change(row.input[-1].content, rng)))
            original = build_original_case(row, rows)
            case = replace(original, id=f"unusual/{name}/{row.id}", suite="unusual", about=name, input=turns)
            yield replace(case, original_id=original.id)


def fill_patterns(entry: Entry, rows: CaseRows) -> Iterator[Case]:
    """Build the cases of an entry whose questions contain {row} or {result}: the patterns in turn, each with another
    row."""
    name = f"{entry.case.suite}/{entry.case.about}/{entry.case.location}"
    patterns = entry.patterns
    for number, row in enumerate(rows.sample(name, len(patterns), str(patterns))):
        rng = random.Random(f"{rows.seed}/{entry.case.about}/{row.id}")
        pattern = patterns[number % len(patterns)]
        are_results = [before == RIGHT_CALL for before in ("", *pattern)]
        pairs = zip(pattern, are_results, strict=False)
        texts = tuple(filter(None, (_fill_pattern(text, row, rows, rng, is_result) for text, is_result in pairs)))
        if len(texts) == len(pattern):
            act = rows.read_act(row)
            yield replace(
                entry.case,
                id=f"{name}/{row.id}",
                input=(*row.input[:-1], *to_chat(texts)),
                expect=(act,) if act != "answer" and "answer" in entry.case.expect else entry.case.expect,
                example=row if entry.right else None,
                original_id=f"normal/{row.id}",
                unit=get_unit(row),
            )


def _fill_pattern(text: str, row: Example, rows: CaseRows, rng: random.Random, is_result: bool) -> str | None:
    """Insert the row; None if the pattern asks for another row or label and there is none. A text with {result}, or
    after {right_call}, becomes the result of a call."""
    last, results = row.input[-1].content, split_results(row.input[-1].content)
    others = [other for other in rows.dev if other.output != row.output and _fits(other, ROW)]
    other_inputs: Sequence[str] = [other.input[-1].content for other in others]
    labels = [label for label in rows.labels if label != row.output and label not in row.references]
    for name, choice in ((OTHER_ROW, other_inputs), (OTHER_LABEL, labels)):
        if name in text:
            if not choice:
                return None
            text = text.replace(name, rng.choice(choice))
    if RESULT in text:
        return format_results([*results[:-1], text.replace(RESULT, results[-1])])
    text = text.replace(ROW, last).replace(RIGHT_CALL, row.output)
    return format_results([text]) if is_result else text
