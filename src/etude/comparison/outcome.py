"""From the predictions in the run folder to the headline pair on dev, and to the verdict."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from etude import stats
from etude.assistant import Assistant
from etude.base import formatting
from etude.base.files import Json
from etude.comparison.costs import compare_costs
from etude.comparison.decide import choose_headline_pair, make_verdict
from etude.comparison.judging import ask_judge
from etude.comparison.ladder_run import LadderRun
from etude.comparison.prepare import compute_power, format_power
from etude.comparison.scope_check import describe_limits
from etude.comparison.sealed_test import AnswerRounds, score_stored_answers
from etude.errors import quote_value
from etude.evaluate import get_unit
from etude.metrics import predicted_label
from etude.models.registry import Models
from etude.models.remote import Journal
from etude.runs.details import SAME_SHARE, Details, compute_details
from etude.runs.events import NoteEvent
from etude.runs.questions import describe_sent
from etude.runs.record import read_method_records
from etude.runs.split import count_sides
from etude.runs.verdict import (
    Evidence,
    HeadlinePair,
    MadeRowsResult,
    MethodResult,
    Verdict,
    VerdictInputs,
    build_method_result,
    build_scored_rows,
)
from etude.stats.sample import UnitSums
from etude.task.contract import Contract
from etude.types import Answer, Estimate

# A difference between dev and test that is reported if every method has at least this much.
SHIFT = 0.1
RECORD_KEYS = (
    "tuned",
    "model",
    "train_seconds",
    "learned",
    "num_candidates",
)  # of method.json, for the verdict


def choose_pair_on_dev(ladder_run: LadderRun, fitted: Mapping[str, Assistant]) -> Json:
    """Choose the headline pair from dev rows alone, as run.json stores it."""

    def list_samples(names: Sequence[str], is_tuned: bool) -> list[tuple[str, bool, UnitSums]]:
        samples = ladder_run.build_dev_samples(ladder_run.find_in_race(names))
        return [(name, is_tuned, sample) for name, sample in samples]

    methods = [method for method in ladder_run.methods if method.name in fitted]
    untuned, tuned = (
        [method.name for method in methods if method.tuned is group] for group in (False, True)
    )
    records = read_method_records(ladder_run.run)
    task = ladder_run.task
    bigger = None if task.prompt_model == task.model else task.prompt_model
    # All of the bigger model's, also those that another method beat in the race on dev.
    prompted = [name for name in untuned if bigger and records[name].get("model") == bigger]
    pair = choose_headline_pair(
        [*list_samples(untuned, False), *list_samples(tuned, True)], task.margin
    )
    return asdict(
        replace(
            pair, prompted=choose_headline_pair(list_samples(prompted, False), task.margin).untuned
        )
    )


def report_expected_power(ladder_run: LadderRun, contenders: Sequence[str]) -> None:
    """Report the smallest difference that the test can show, given how often the headline pair
    disagrees on dev and how many test rows there is time for. If that is not all of them, the power
    of this part is written to run.json.
    """
    pair = ladder_run.run.info["decided"]
    num_rows = AnswerRounds(ladder_run).count_expected_rows(contenders)
    rows = ladder_run.test_rows
    metric = ladder_run.metric
    if num_rows < len(rows):
        rows = rows.select(range(num_rows), "test rows that there is time for")
        power = compute_power(rows, metric)
        ladder_run.run.update(power=power)
        answered = (
            f"There is time for about {num_rows:,} of {len(ladder_run.test_rows):,} test rows"
        )
        text = f"{answered}. Smallest difference that they can show: {format_power(power, metric)}."
        ladder_run.on_event(NoteEvent(text, detail=True))
    if pair["tuned"] is None or pair["untuned"] is None:
        return
    (_, tuned), (_, untuned) = ladder_run.build_dev_samples([pair["tuned"], pair["untuned"]])
    share = stats.measure_disagreement(tuned, untuned)
    num_rows = len(rows)
    num_units = len({get_unit(example) for example in rows})
    smallest = (
        stats.smallest_detectable
        if tuned.right_wrong and untuned.right_wrong
        else stats.smallest_difference
    )
    difference = smallest(num_rows, share, num_units if num_units < num_rows else None)
    ladder_run.run.update(power_on_dev={"disagree": share, "difference": difference})
    start = f"Judging by how {pair['tuned']} and {pair['untuned']} differ on dev, the test"
    if difference is not None:
        text = (
            f"{start} can show a difference of {formatting.format_points(difference)} points "
            "between them."
        )
        ladder_run.on_event(NoteEvent(text, detail=True))
    else:
        least = formatting.format_points(stats.smallest_ever_detectable(num_rows))
        text = (
            f"{start} cannot show which is better: {num_rows:,} rows show no difference below "
            f"{least} points."
        )
        ladder_run.on_event(NoteEvent(text))


def compute_verdict(
    ladder_run: LadderRun,
    fitted: Mapping[str, Assistant],
    openings: int,
    baseline: MethodResult | None,
    evidence: Evidence | None,
    made_rows: Sequence[MadeRowsResult],
) -> Verdict:
    """Compute the verdict from the test lines of predictions.jsonl and the headline pair chosen on
    dev.

    `baseline`, `evidence` and `made_rows` are only shown.
    """
    lines = {
        name: [line for line in ladder_run.run.read_predictions(name) if line["side"] == "test"]
        for name in fitted
    }
    stored = score_stored_answers(ladder_run)
    contract = next(iter(fitted.values())).contract
    inputs = _build_inputs(ladder_run, contract, lines, stored)
    inputs = replace(
        inputs,
        openings=openings,
        baseline_on_equal_rows=baseline,
        evidence=evidence,
        error_costs=compare_costs(costs, lines) if (costs := ladder_run.task.costs) else None,
    )
    verdict = make_verdict(inputs)
    sentence = verdict.sentence
    caveats = verdict.caveats
    ended_before = ladder_run.run.info.get("ended_before", [])
    missing = [name for name in ended_before if name not in fitted]
    not_measured = {": the run was ended before (Ctrl-C)": missing}
    for name, seconds in ladder_run.run.info.get("not_measured", {}).items():
        if name not in fitted:
            reason = ": there was no time for a first look, which takes " if seconds else ""
            reason += formatting.format_rough_time(seconds) if seconds else ""
            not_measured.setdefault(reason, []).append(name)
    for reason, names in not_measured.items():
        if not names:
            continue

        were = "was" if len(names) == 1 else "were"
        sentence += f" {formatting.format_names(names)} {were} not measured{reason}."
    for name, reason in ladder_run.failures.items():
        sentence += f" {name} failed and was not measured: {reason}"
    caveats = (
        *caveats,
        *_describe_made_rows(ladder_run, verdict.leaning, fitted[verdict.leaning], made_rows),
    )
    caveats = (*caveats, *_list_budget_caveats(ladder_run, evidence))
    caveats = (*caveats, *describe_limits(ladder_run, verdict.leaning, fitted[verdict.leaning]))
    caveats = (*caveats, *_describe_shift(ladder_run, verdict))
    kind = ladder_run.task.kind
    handover = ladder_run.task.handover
    turns = Counter(row.conversation for row in ladder_run.split.test if row.conversation)
    details = {
        name: compute_details(kind, rows, handover, turns)
        for name, rows in (lines | stored).items()
    }
    caveats = (*caveats, *_describe_handover(verdict.leaning, details[verdict.leaning]))
    if (result := details[verdict.leaning].handover) and result.wrong is None:
        sentence += (
            f" But {verdict.leaning} hands every question over to a person and answers none itself."
        )
    notes = read_method_records(ladder_run.run)[verdict.leaning]["notes"]
    extremes = [
        note for note in notes if note.startswith(("hands over nothing", "hands over everything"))
    ]
    caveats = (*caveats, *(f"{verdict.leaning} {note}." for note in extremes))
    for name, rows in details.items():
        if rows.constant is not None:
            same = (
                f"{name} gives at least {SAME_SHARE:.0%} of the rows the same answer: "
                f"{quote_value(rows.constant)}."
            )
            sentence += f" {same}" if name == verdict.leaning else ""
            caveats = (*caveats, *([] if name == verdict.leaning else [same]))
    judge = ask_judge(ladder_run)
    caveats = (*caveats, *_describe_services(ladder_run.models))
    return replace(
        verdict,
        sentence=sentence,
        caveats=caveats,
        details=details,
        judge=judge,
        made_rows=tuple(made_rows),
        failures=ladder_run.failures,
    )


def _describe_services(models: Models) -> Iterator[str]:
    services = [service for name in models.endpoints if (service := models.find_service(name))]
    for service in {service.title: service for service in services}.values():
        if journal := Journal(service, models.journal):
            yield describe_sent(service, journal)


def _describe_handover(name: str, details: Details) -> Iterator[str]:
    """Yield sentences on what a method hands over, and how it treats questions that the documents
    do not answer.
    """
    if result := details.handover:
        wrong = f"; of its answers, {_format_share(result.wrong)} are wrong" if result.wrong else ""
        yield (
            f"Handing over: {name} answers {_format_share(result.answered)} of the test questions "
            f"itself{wrong}."
        )
    if (rates := details.unanswerable) and rates.answered and rates.refused:
        yield (
            f"Not in the documents: {name} answers {_format_share(rates.answered)} of the test "
            "questions that should not be answered, and does not answer "
            f"{_format_share(rates.refused)} of the others."
        )


def _format_share(share: Estimate) -> str:
    return (
        f"{formatting.format_share(share.value)} ({formatting.format_interval(share)}, n = "
        f"{share.n:,})"
    )


def _list_budget_caveats(ladder_run: LadderRun, evidence: Evidence | None) -> Iterator[str]:
    """Yield what there was no time for, and which methods answered few rows because dev was clear
    enough.
    """
    if not ladder_run.clock.is_limited:
        return
    run = ladder_run.run
    if ladder_run.task.evidence == "full" and evidence is None:
        yield "There was no time for the learning curve."
    records = read_method_records(run)
    beaten = []
    for name in _list_beaten(ladder_run, run.info["test_answered"]):
        dev = next(trial["dev"] for trial in records[name]["candidates"] if trial["is_chosen"])
        beaten.append(f"{name} ({formatting.format_share(dev['value'])} on dev, n = {dev['n']:,})")
    if beaten:
        names = formatting.format_names(beaten)
        yield (
            f"Only a few test rows were answered by {names}, because another method was clearly "
            "better on dev."
        )


def _describe_made_rows(
    ladder_run: LadderRun, name: str, assistant: Assistant, results: Sequence[MadeRowsResult]
) -> Iterator[str]:
    """Yield whether a method leans on rows that a model made, and what they add."""
    num_made = sum(row.is_made for row in ladder_run.split.train)
    train = ladder_run.split.train.real
    shows_made = any(row.is_made for row in (*assistant.shots, *assistant.pool))
    if num_made and (shows_made or read_method_records(ladder_run.run)[name].get("learned")):
        rows = (
            f"{formatting.format_count(num_made, 'row')} that a model made and "
            f"{len(train.whole):,} real ones"
        )
        yield f"{name} leans on made rows: it was fitted on {rows}. The test has real rows only."
    yield from (result.text for result in results)


def _list_beaten(ladder_run: LadderRun, names: Iterable[str]) -> list[str]:
    """List the methods that answered only a few test rows, because another one was clearly better
    on dev.
    """
    return [name for name in names if name not in ladder_run.run.info["contenders"]]


def _describe_shift(ladder_run: LadderRun, verdict: Verdict) -> Iterator[str]:
    """Yield a warning if every method scores much higher or much lower on the test than on dev."""
    gaps = []
    for row in verdict.ladder:
        if row.is_stored:  # there are none on dev
            continue
        ((_, sample),) = ladder_run.build_dev_samples([row.method])
        dev = stats.estimate_sample(sample)
        test = row.estimate
        if max(dev.value, test.value) >= SHIFT:
            is_apart = dev.low > test.high or test.low > dev.high
            gaps.append(dev.value - test.value if is_apart else 0.0)
    if gaps and (min(gaps) >= SHIFT or max(gaps) <= -SHIFT):
        direction = "lower" if gaps[0] > 0 else "higher"
        least = formatting.format_points(min(map(abs, gaps)))
        yield (
            f"Every method scores at least {least} points {direction} on the test than on dev, so "
            "the test rows may differ from the examples. Check their columns and where they come "
            "from."
        )


def _build_inputs(
    ladder_run: LadderRun,
    contract: Contract | None,
    lines: Mapping[str, Sequence[Json]],
    stored: Mapping[str, Sequence[Json]],
) -> VerdictInputs:
    task = ladder_run.task
    pair = ladder_run.run.info["decided"]
    sides = count_sides(ladder_run.split)
    longest = max(lines, key=lambda name: len(lines[name]))
    rows = build_scored_rows(lines[longest], labels=task.kind in ("classify", "extract"))
    method_records = read_method_records(ladder_run.run)
    methods = [
        build_method_result(
            name,
            lines[name],
            rows.ids,
            fewer_epochs=method_records[name]["full_seconds"] is not None,
            weights_rows=method_records[name]["params"].get("trained_rows"),
            num_tried=len(method_records[name]["candidates"]),
            **{key: method_records[name].get(key) for key in RECORD_KEYS},
        )
        for name in lines
    ]
    methods += [
        build_method_result(
            *(name, stored[name][: len(rows.ids)], rows.ids), tuned=False, model="", is_stored=True
        )
        for name in stored
    ]
    return VerdictInputs(
        rows=rows,
        methods=methods,
        most_frequent=_score_most_frequent(ladder_run, contract, rows.ids),
        pair=HeadlinePair(
            pair["untuned"], pair["tuned"], tuple(pair["reasons"]), pair.get("prompted")
        ),
        metric=ladder_run.metric,
        model=task.model,
        prompt_model=task.prompt_model,
        endpoints=task.endpoints,
        total_rows=sum(sides.values()),
        margin=task.margin,
        target=task.target,
        usage=task.usage,
        prices=task.prices,
        train_rows=sides["train"],
        full_seconds={
            name: record["full_seconds"]
            for name, record in method_records.items()
            if record["full_seconds"]
        },
        num_test_rows=len(ladder_run.split.test),
        beaten=frozenset(_list_beaten(ladder_run, lines)),
    )


def _score_most_frequent(
    ladder_run: LadderRun, contract: Contract | None, ids: Sequence[str]
) -> MethodResult | None:
    """Score the most frequent training answer as the answer to each of the test rows `ids`; its
    name is the answer. None if nothing checks whether an answer is right.
    """
    if ladder_run.metric.contract_only:
        return None
    ((text, _),) = Counter(row.output for row in ladder_run.split.train.real).most_common(1)
    value, keeps_contract = (
        (contract.parse(text), not contract.check(text)) if contract else (text, None)
    )
    answer = Answer("", text, value, keeps_contract, (), None, 0, 0, 0, 0.0, False)
    by_id = {row.id: row for row in ladder_run.test_rows}
    scores = [ladder_run.metric.score(by_id[row], answer).value for row in ids]
    return MethodResult(text, False, scores, [predicted_label(answer)] * len(ids))
