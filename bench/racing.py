"""Racing on stored predictions: how often it changes what is recommended, and how much time it saves.

    python bench/racing.py RUN ...     run folders of `etude compare`; about two minutes each

The rows that all methods of a run answered are the population. In each of 200 simulations, dev and test rows are drawn
from it with replacement, by units. Two comparisons are made on them: one in which all methods answer all rows, and one
with races on dev, after which beaten methods answer only one block of test rows. Both choose their pair on dev and make
a verdict. Printed are how often each of them recommends a method, how often it is the same one, how often the leaning
is the same, and the share of the answering time that the races save. Beaten methods are not compared on the test, so
the others have fewer comparisons to share an error rate with, and more verdicts are decided.
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etude.comparison.decide import choose_headline_pair, make_verdict
from etude.comparison.sealed_test import BLOCK_ROWS
from etude.evaluate import build_sample, parse_outcome
from etude.metrics import Metric, restore_metric
from etude.runs import Run
from etude.runs.record import read_method_records
from etude.runs.verdict import Verdict, VerdictInputs, build_method_result, build_scored_rows
from etude.stats.racing import find_beaten, iter_block_ends
from etude.stats.sample import UnitSums

NUM_SIMULATIONS, RESAMPLES = 200, 500
Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Population:
    """The rows that all methods of a run answered."""

    info: Mapping[str, Any]
    """Content of run.json."""
    metric: Metric
    tuned: Mapping[str, bool]
    """Method -> whether it is tuned, simplest first."""
    units: Sequence[Mapping[str, Lines]]
    """For each unit: method -> its rows."""

    def draw(self, num_rows: int, draw: random.Random) -> dict[str, Lines]:
        """Draw units with replacement until there are `num_rows` rows: method -> rows."""
        rows: dict[str, Lines] = {name: [] for name in self.tuned}
        number = 0
        while len(next(iter(rows.values()))) < num_rows:
            unit = draw.choice(self.units)
            for name, lines in unit.items():
                rows[name] += [
                    {**line, "id": f"{number}/{line['id']}", "unit": str(number)} for line in lines
                ]
            number += 1
        return {name: lines[:num_rows] for name, lines in rows.items()}

    def build_sample(self, lines: Lines) -> UnitSums:
        """Build the sample of some rows."""
        return build_sample(self.metric, [parse_outcome(line) for line in lines])


def main() -> None:
    """Prints one line for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--dev", type=int, default=100, help="dev rows of a simulation")
    parser.add_argument("--test", type=int, default=200, help="test rows of a simulation")
    flags = parser.parse_args()
    for folder in flags.run:
        population = read_population(Run(folder))
        num_decided = num_equal = num_leaning = num_raced = 0
        seconds = saved = 0.0
        for seed in range(NUM_SIMULATIONS):
            draw = random.Random(seed)
            dev, test = population.draw(flags.dev, draw), population.draw(flags.test, draw)
            whole = compare(population, dev, test, frozenset(), dict.fromkeys(dev, flags.dev))
            beaten, answered = race(population, dev)
            raced = compare(population, dev, test, beaten, answered)
            num_decided += whole.recommended is not None
            num_equal += whole.recommended is not None and raced.recommended == whole.recommended
            num_raced += raced.recommended is not None
            num_leaning += raced.leaning == whole.leaning
            for name in dev:
                per_row = sum(line["seconds"] for line in [*dev[name], *test[name]]) / (
                    flags.dev + flags.test
                )
                seconds += per_row * (flags.dev + flags.test)
                unanswered = flags.test - BLOCK_ROWS if name in beaten else 0
                saved += per_row * (flags.dev - answered[name] + unanswered)
        rows = sum(len(lines) for unit in population.units for lines in unit.values()) // len(
            population.tuned
        )
        print(
            f"{folder.name}: {rows} rows, {len(population.tuned)} methods; decided {num_decided} of {NUM_SIMULATIONS} "
            f"times without races, {num_raced} times with races; same recommendation in {num_equal} of {num_decided}; "
            f"same leaning {num_leaning / NUM_SIMULATIONS:.1%}; "
            f"time saved {saved / seconds:.0%}",
            flush=True,
        )


def read_population(run: Run) -> Population:
    """Read the dev and test rows that all methods answered."""
    info = run.info
    records = read_method_records(run)
    tuned = {name: bool(records[name]["tuned"]) for name in run.fitted_methods}
    by_id = {name: {line["id"]: line for line in run.read_predictions(name)} for name in tuned}
    ids = set.intersection(*(set(lines) for lines in by_id.values()))
    units: dict[str, dict[str, Lines]] = {}
    for name, lines in by_id.items():
        for row, line in lines.items():
            if row in ids:
                units.setdefault(line["unit"], {}).setdefault(name, []).append(line)
    return Population(info, restore_metric(info["metric"], info["kind"]), tuned, list(units.values()))


def race(population: Population, dev: Mapping[str, Lines]) -> tuple[frozenset[str], dict[str, int]]:
    """Let the methods answer dev one after another, each in a race with the best before it. Returns the beaten methods,
    and how many dev rows each answered."""
    margin = population.info["margin"]
    answered: dict[str, int] = {}
    best: str | None = None
    raced_out: set[str] = set()
    for name, lines in dev.items():
        ends = list(iter_block_ends(len(lines)))
        for end in ends:
            answered[name] = end
            if best is None:
                continue
            samples = [population.build_sample(dev[other][:end]) for other in (name, best)]
            if 0 in find_beaten(samples, margin, len(ends)):
                raced_out.add(name)
                break
        if name not in raced_out:
            values = {
                other: population.build_sample(dev[other]).value
                for other in answered
                if other not in raced_out
            }
            best = max(values, key=lambda other: values[other])
    names = [name for name in dev if name not in raced_out]
    beaten = find_beaten([population.build_sample(dev[name]) for name in names], margin)
    return frozenset(raced_out | {names[index] for index in beaten}), answered


def compare(
    population: Population,
    dev: Mapping[str, Lines],
    test: Mapping[str, Lines],
    beaten: frozenset[str],
    answered: Mapping[str, int],
) -> Verdict:
    """Choose the pair on dev and make the verdict; `beaten` methods answer one block of test rows."""
    in_race = [name for name in dev if answered[name] == len(dev[name])]
    pair = choose_headline_pair(
        [(name, population.tuned[name], population.build_sample(dev[name])) for name in in_race]
    )
    contenders = {name for name in dev if name not in beaten} | {pair.untuned, pair.tuned}
    rows = build_scored_rows(
        next(iter(test.values())), labels=population.info["kind"] in ("classify", "extract")
    )
    methods = [
        build_method_result(
            name,
            lines if name in contenders else lines[:BLOCK_ROWS],
            rows.ids,
            tuned=population.tuned[name],
            model=population.info["model"],
        )
        for name, lines in test.items()
    ]
    return make_verdict(
        VerdictInputs(
            rows=rows,
            methods=methods,
            pair=pair,
            metric=population.metric,
            model=population.info["model"],
            total_rows=len(rows.ids) + len(next(iter(dev.values()))),
            margin=population.info["margin"],
            train_rows=1,
            beaten=frozenset(dev.keys() - contenders),
            resamples=RESAMPLES,
        )
    )


if __name__ == "__main__":
    main()
