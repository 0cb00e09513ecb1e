"""Cases made from the user's dev rows: unchanged, rewritten by rule, and inserted into patterns of
suites.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from etude.data.dataset import Dataset
from etude.data.formats.tools import format_results, split_calls, split_results
from etude.evaluate import get_unit
from etude.suites.cases import (
    OTHER_LABEL,
    OTHER_ROW,
    OWN_ANSWER,
    RESULT,
    RIGHT_CALL,
    ROW,
    Case,
    Entry,
    to_chat,
)
from etude.text.variants import VARIANTS
from etude.types import Act, Example

DEV_ROWS = "dev rows"  # `about` of cases that are unchanged dev rows


@dataclass(frozen=True)
class CaseRows:
    """The dev rows from which cases are made, and the number of rows for each pattern."""

    dev: Dataset
    rows_per_pattern: int
    seed: int
    read_act: Callable[
        [Example], Act
    ]  # reads the act of a row's output, since rows may teach refusals
    labels: tuple[str, ...] = ()

    def select(self, text: str) -> list[Example]:
        """Select the rows for the placeholders of a text: with results in the last turn, or a call
        as the right answer, where these are asked for. A conversation does not go on after a call,
        which needs a result first.
        """
        rows = []
        for row in self.dev:
            has_results = bool(split_results(row.input[-1].content))
            has_call = bool(split_calls(row.output)[1])
            is_fitting = has_call if RIGHT_CALL in text else not has_call or OWN_ANSWER not in text
            if is_fitting and has_results == (RESULT in text):
                rows.append(row)
        return rows

    def sample(self, name: str, min_rows: int = 1, text: str = ROW) -> list[Example]:
        """Sample rows for the placeholders of a text, at least `min_rows` if there are enough."""
        rng = random.Random(f"{self.seed}/{name}")
        rows = self.select(text)
        return rng.sample(rows, min(max(self.rows_per_pattern, min_rows), len(rows)))


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
            turns = (
                *row.input[:-1],
                replace(row.input[-1], content=change(row.input[-1].content, rng)),
            )
            original = build_original_case(row, rows)
            case = replace(
                original, id=f"unusual/{name}/{row.id}", suite="unusual", about=name, input=turns
            )
            yield replace(case, original_id=original.id)


def fill_patterns(entry: Entry, rows: CaseRows) -> Iterator[Case]:
    """Build the cases of an entry whose questions contain {row} or {result}: the patterns in turn,
    each with another row.
    """
    name = f"{entry.case.suite}/{entry.case.about}/{entry.case.location}"
    patterns = entry.patterns
    fitting = rows.select(str(patterns))
    for number, row in enumerate(rows.sample(name, len(patterns), str(patterns))):
        rng = random.Random(f"{rows.seed}/{entry.case.about}/{row.id}")
        pattern = patterns[number % len(patterns)]
        choices = {
            OTHER_ROW: [other.input[-1].content for other in fitting if other.output != row.output],
            OTHER_LABEL: [
                label
                for label in rows.labels
                if label != row.output and label not in row.references
            ],
        }
        texts = tuple(filter(None, (_fill_text(text, row, choices, rng) for text in pattern)))
        if len(texts) == len(pattern):
            turns = zip(texts, ("", *pattern), strict=False)  # a text after a call is its result
            texts = tuple(
                format_results([text]) if before == RIGHT_CALL else text for text, before in turns
            )
            act = rows.read_act(row)
            yield replace(
                entry.case,
                id=f"{name}/{row.id}",
                input=(*row.input[:-1], *to_chat(texts)),
                expect=(act,)
                if act != "answer" and "answer" in entry.case.expect
                else entry.case.expect,
                example=row if entry.right else None,
                original_id=f"normal/{row.id}",
                unit=get_unit(row),
            )


def _fill_text(
    text: str, row: Example, choices: Mapping[str, Sequence[str]], rng: random.Random
) -> str | None:
    """Insert the row; None if the pattern asks for another row or label and there is none."""
    for name, others in choices.items():
        if name in text:
            if not others:
                return None
            text = text.replace(name, rng.choice(others))
    last = row.input[-1].content
    if RESULT in text:
        *earlier, result = split_results(last)
        return format_results([*earlier, text.replace(RESULT, result)])
    return text.replace(ROW, last).replace(RIGHT_CALL, row.output)
