"""Looks: how much time each method of a comparison gets, and its fit in this time.

Under a budget, a first look is short: one candidate, a few dev rows, a short training. A longer
look goes to every method that it could still change. Without a budget, the first look is whole.
"""

import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from etude.assistant import TRAINING, Assistant, load, with_engine
from etude.base.files import write_lines
from etude.base.formatting import format_interval, format_percent, format_rough_time
from etude.comparison.clock import (
    FIRST_LOOK_LIMIT,
    FIRST_LOOK_ROWS,
    FIRST_ROWS,
    FIRST_TRAINING,
    SEARCH_WEIGHT,
    TRAINING_SHARE,
    TUNED_WEIGHT,
)
from etude.comparison.handover import choose_handover
from etude.comparison.ladder_run import FIRST, WORK, LadderRun, describe_dropped_context
from etude.errors import STOPPING_ERRORS
from etude.evaluate import ScoredAnswer, build_sample, parse_outcome
from etude.methods import FitContext, Method, format_method
from etude.methods.shared.fit_context import Effort, LookStopped, Race
from etude.methods.shared.fitted_search import FACTS as SEARCH_FACTS
from etude.methods.shared.training_rows import fit_on_share, list_left_out
from etude.runs.events import Event, NoteEvent
from etude.runs.record import build_prediction, read_method_records, write_method_record
from etude.runs.training_log import TrainingLog
from etude.stats.intervals import estimate_sample
from etude.stats.racing import FIRST_BLOCK

MIN_LOOK_SECONDS = 5.0
"""A longer look with less time, besides that for a block of dev rows, could hardly change
anything.
"""


@dataclass(frozen=True)
class Looks:
    """Fits the methods without the test."""

    ladder: LadderRun

    def fit_quick(self, start: Assistant) -> None:
        """Fit the methods that take seconds."""
        for method in self.ladder.methods:
            if is_quick(method) and method.name not in self.ladder.run.fitted_methods:
                self._take_first_look(method, start)

    def fit_all(self, start: Assistant) -> dict[str, Assistant]:
        """Fit every method, simplest first, each on the best prompt so far. Returns method ->
        assistant.
        """
        if self.ladder.run.info.get("failures") and not self.ladder.failures:
            self.ladder.run.update(
                failures={}
            )  # failed methods of an earlier attempt are tried again
        fitted: dict[str, Assistant] = {}
        for methods in self._group_methods():
            self._fit_group(
                methods, self.ladder.find_best(self._list_simpler(methods[0], fitted), start)
            )
            self._load_fitted(methods, fitted)
        waiting = self._list_waiting()
        for number, method in enumerate(waiting):
            best = self.ladder.find_best(self._list_simpler(method, fitted), start)
            self._take_longer_look(method, waiting[number:], best)
            self._load_fitted([method], fitted)
        return {
            method.name: fitted[method.name]
            for method in self.ladder.methods
            if method.name in fitted
        }

    def _list_simpler(
        self, method: Method, fitted: Mapping[str, Assistant]
    ) -> dict[str, Assistant]:
        names = [
            simpler.name for simpler in self.ladder.methods[: self.ladder.methods.index(method)]
        ]
        return {name: fitted[name] for name in names if name in fitted}

    def _load_fitted(self, methods: Iterable[Method], fitted: dict[str, Assistant]) -> None:
        for method in methods:
            fitted.pop(method.name, None)
            if (
                method.name not in self.ladder.failures
                and method.name in self.ladder.run.fitted_methods
            ):
                # An earlier attempt may have saved it with limits, which are added only after the
                # measurement.
                fitted[method.name] = load(
                    self.ladder.run.assistant_folder(method.name)
                ).without_limits()

    def _list_waiting(self) -> list[Method]:
        """List the methods whose result more time could change: cut in their first look, and not
        clearly worse than another one on dev; after a training that was cut, that says nothing. A
        resumed run keeps the list.
        """
        if self.ladder.clock.budget is None:
            return []
        if "longer_looks" not in self.ladder.run.info and not self.ladder.is_ending:
            records = read_method_records(self.ladder.run)
            unbeaten = self.ladder.find_unbeaten(self.ladder.list_fitted())
            names = [
                name
                for name, record in records.items()
                if name not in self.ladder.failures
                and record["is_cut"]
                and (name in unbeaten or record["full_seconds"])
            ]
            self.ladder.run.update(longer_looks=names)
        names = self.ladder.run.info.get("longer_looks", [])
        return [method for method in self.ladder.methods if method.name in names]

    def _take_first_look(self, method: Method, start: Assistant) -> None:
        """Fit a method in a short look; without a budget, to the end. Once the user has asked to
        end, nothing more is fitted if there is a method already.
        """
        name = method.name
        to_come = self._order_looks()
        to_come = to_come[to_come.index(method) :]
        if self.ladder.is_ending and self.ladder.run.fitted_methods:
            ended_before = [*self.ladder.run.info.get("ended_before", []), name]
            self.ladder.run.update(ended_before=ended_before)
            self.ladder.on_event(NoteEvent(f"{name} is not measured: the run was ended before it."))
            return
        seconds = None if is_quick(method) else self.ladder.clock.share_first_looks(method, to_come)
        if seconds is not None and (needed := self._find_too_slow(method, to_come)):
            self._skip(name, needed)
            return
        effort, seconds = self._record_look(
            f"{name}/{FIRST}", self.ladder.clock.make_first_effort(seconds), seconds
        )
        try:
            with self.ladder.continue_without(name):
                self._fit(method, start, WORK if seconds is None else FIRST, effort, seconds)
        except LookStopped as stop:
            self._skip(name, stop.needed_seconds)

    def _find_too_slow(self, method: Method, to_come: Sequence[Method]) -> float | None:
        """Return the seconds that a first look would take if there is no time for it and for the
        first test rows.

        Whether training helps is the main question. So a method leaves time for the short trainings
        after it, and for test rows of all methods.
        """
        assert self.ladder.clock.budget is not None, "without a budget, every method has time"
        if not (row_seconds := self._estimate_row_seconds(method)):
            return None
        training = FIRST_TRAINING * self.ladder.clock.budget
        tuned = [
            self._estimate_row_seconds(other)
            for other in to_come
            if other.tuned and other != method
        ]
        needed = FIRST_BLOCK * row_seconds + (training if method.tuned else 0.0)
        later = len(tuned) * training + FIRST_BLOCK * sum(tuned)
        fitted = sum(map(self.ladder.get_row_seconds, self.ladder.list_fitted()))
        test = FIRST_BLOCK * (row_seconds + fitted + sum(tuned))
        return needed if needed + later + test > self.ladder.clock.seconds_left else None

    def _estimate_row_seconds(self, method: Method) -> float:
        """Estimate the seconds of a row from the methods that ask the same model: the slowest, or
        the fastest if this method learns from the examples instead of reading them. 0 if unknown.
        """
        is_same = self.ladder.task.prompt_model is None
        methods = [other for other in self.ladder.methods if is_same or other.tuned is method.tuned]
        asking = {other.name for other in methods if other.asks_model}
        speeds = [
            self.ladder.get_row_seconds(name)
            for name in self.ladder.list_fitted()
            if name in asking
        ]
        given_up = self.ladder.run.info.get("not_measured", {})
        speeds += [given_up[name] / FIRST_BLOCK for name in asking if given_up.get(name)]
        choose = min if method.tuned else max
        return choose(speeds, default=0.0) if method.asks_model else 0.0

    def _skip(self, name: str, needed_seconds: float | None) -> None:
        """Record that a method has no result, and the seconds that its first look needs, if
        known.
        """
        self.ladder.run.update(
            not_measured={**self.ladder.run.info.get("not_measured", {}), name: needed_seconds}
        )
        takes = f", which takes {format_rough_time(needed_seconds)}" if needed_seconds else ""
        self.ladder.on_event(
            NoteEvent(f"{name} is not measured: there is no time for a first look{takes}.")
        )

    def _record_look(
        self, key: str, effort: Effort, seconds: float | None
    ) -> tuple[Effort, float | None]:
        looks = self.ladder.run.info.get("looks", {})
        if key not in looks:
            looks = {**looks, key: {"seconds": seconds, **asdict(effort)}}
            self.ladder.run.update(looks=looks)
        look = dict(looks[key])
        return Effort(**{name: look[name] for name in asdict(effort)}), look["seconds"]

    def _take_longer_look(
        self, method: Method, waiting: Sequence[Method], start: Assistant
    ) -> None:
        """Fit a method again, with its share of the time that is left. It keeps its first look if
        there is no time.
        """
        name = method.name
        record = read_method_records(self.ladder.run)[method.name]
        if record["look"] != FIRST or name in self.ladder.failures:
            return
        seconds = self.ladder.clock.share_rest(
            method, waiting, self._is_search_waiting, self.ladder.compute_kept_seconds()
        )
        key = f"{name}/longer"
        effort = self._make_longer_effort(method, record, seconds)
        has_begun = key in self.ladder.run.info.get("looks", {})
        is_open = "openings" in self.ladder.run.info  # then nothing is chosen any more
        needed = MIN_LOOK_SECONDS + FIRST_BLOCK * self.ladder.get_row_seconds(name)
        if is_open or self.ladder.is_ending or (seconds < needed and not has_begun):
            return
        effort, recorded = self._record_look(key, effort, round(seconds, 1))
        # Answers of a first look are always reused; its training if it was whole. An encoder's
        # training begins afresh, so in less than twice the time it would learn hardly more.
        is_longer = (
            method.asks_model or (effort.train_seconds or 0.0) >= 2 * record["train_seconds"]
        )
        part = WORK if method.searches or (record["full_seconds"] and is_longer) else FIRST
        with suppress(LookStopped), self.ladder.continue_without(name):
            self._fit(method, start, part, effort, recorded, record["train_seconds"])

    @property
    def _is_search_waiting(self) -> bool:
        """Whether no method has fitted the search in a longer look."""
        names = [method.name for method in self.ladder.methods if method.searches]
        return not any(
            (self.ladder.run.method_folder(name) / WORK / SEARCH_FACTS).exists() for name in names
        )

    def _make_longer_effort(
        self, method: Method, record: Mapping[str, Any], seconds: float
    ) -> Effort:
        """Make the effort of a longer look. It ends by the clock; only trainings have a limit of
        their own, so that time for dev is left.
        """
        search_seconds = None
        if method.searches and self._is_search_waiting:
            weight = TUNED_WEIGHT if method.tuned else 1.0
            search_seconds = round(seconds * SEARCH_WEIGHT / (SEARCH_WEIGHT + weight), 1)
        if not method.tuned:
            return Effort(search_seconds=search_seconds)
        left = seconds - (search_seconds or 0.0)
        dev_seconds = 2 * FIRST_LOOK_ROWS * (record["row_seconds"] or 0.0)
        train_seconds = max(TRAINING_SHARE * left, left - dev_seconds)
        params = record["params"]
        speed = (params.get("trained_rows") or 0) / max(1.0, params.get("seconds") or 1.0)
        train_rows = max(FIRST_ROWS, round(speed * train_seconds))
        return Effort(None, None, round(train_seconds, 1), train_rows, search_seconds)

    def _order_looks(self) -> list[Method]:
        """Order the methods for their first looks: under a budget, those without a language model
        come first.
        """
        if self.ladder.clock.budget is None:
            return list(self.ladder.methods)
        return sorted(self.ladder.methods, key=lambda method: method.asks_model)

    def _group_methods(self) -> list[list[Method]]:
        """Group neighbouring methods that are fitted at the same time, because none builds on
        another.
        """
        groups: list[list[Method]] = []
        for method in self._order_looks():
            if (
                groups
                and self.ladder.can_fit_together
                and all(map(_stands_alone, (*groups[-1], method)))
            ):
                groups[-1].append(method)
            else:
                groups.append([method])
        return groups

    def _fit_group(self, methods: Sequence[Method], start: Assistant) -> None:
        waiting = []
        for method in methods:
            # Written last, so an earlier attempt has fitted the method.
            if (self.ladder.run.method_folder(method.name) / "method.json").exists():
                self.ladder.on_event(NoteEvent(f"{method.name}: already fitted", detail=True))
            elif method.name not in self.ladder.failures:
                waiting.append(method)
        if len(waiting) < 2:
            for method in waiting:
                self._take_first_look(method, start)
            return
        names = ", ".join(method.name for method in waiting)
        self.ladder.on_event(NoteEvent(f"Fitting at the same time: {names} ..."))
        positions = [self.ladder.methods.index(method) for method in waiting]
        outcomes = self.ladder.models.workers.map(
            _fit_on_worker, positions, self.ladder.copy_for_workers(), start
        )
        for method, (events, notes, error) in zip(waiting, outcomes, strict=True):
            self.ladder.publish_results(events)
            self.ladder.models.notes |= notes
            with self.ladder.continue_without(method.name):
                if error:
                    raise error

    def _start_race(self, method: str) -> Race:
        """The race of a method's candidates, against the other method that is best on dev so
        far.
        """
        fitted = [name for name in self.ladder.run.fitted_methods if name != method]
        names = self.ladder.find_in_race(fitted) if fitted else []
        samples = {
            name: sample for name in names for _, sample in self.ladder.build_dev_samples([name])
        }
        best = max(samples, key=lambda name: samples[name].value, default=None)
        lines = self.ladder.run.read_predictions(best) if best else []
        return Race(
            self.ladder.task.margin,
            {line["id"]: parse_outcome(line) for line in lines if line["side"] == "dev"},
        )

    def _fit(
        self,
        method: Method,
        start: Assistant,
        part: str,
        effort: Effort,
        seconds: float | None,
        first_seconds: float = 0.0,
    ) -> None:
        """Fit a method in a look of about `seconds` (None: no limit), in the folder `part`, and
        save its results. `first_seconds`: those of the training of its first look, if this is a
        longer one.
        """
        name = method.name
        folder = self.ladder.run.method_folder(method.name)
        self.ladder.start_event(name, "dev")
        context = self._make_context(method, part, effort, seconds, first_seconds)
        share = self.ladder.get_share(method)
        context.left_out = list_left_out(self.ladder.split.train, share)
        assistant = fit_on_share(
            method, self.ladder.task, share, self.ladder.split.dev, start, context
        )
        assistant = with_engine(self.ladder.task.engine, assistant)
        if context.left_out and context.has_learned:
            context.notes.append(
                f"trained on {context.num_learned:,} of {len(self.ladder.split.train.whole):,} rows"
            )
        assistant, dev, handover_notes = choose_handover(
            assistant,
            self.ladder.task,
            self.ladder.split.train,
            context.chosen_scored,
            self.ladder.models,
            self.ladder.run.folder / TRAINING,
            context.held_out,
        )
        context.chosen_scored = dev
        if method.tuned and first_seconds and self._is_worse_than_first(name, dev):
            self.ladder.add_notes(
                name, [f"{name}: a longer training was worse on dev, so the first one is kept"]
            )
            self.ladder.release_weights(assistant)
            return
        chosen = next(trial.name for trial in reversed(context.trials) if trial.is_chosen)
        context.scored_by_candidate[chosen] = dev
        assistant.save(folder / "assistant")
        # tried.jsonl: the answers of all candidates to dev rows, including the chosen one.
        candidates = context.scored_by_candidate.items()
        lines = [
            {"candidate": key, **build_prediction("dev", row)}
            for key, rows in candidates
            for row in rows
        ]
        write_lines(folder / "tried.jsonl", lines)
        notes = list(describe_dropped_context(assistant, "dev", dev))
        context.notes += self.ladder.publish_notes([*notes, *handover_notes])
        request = assistant.build_requests([self.ladder.split.dev[0].input], self.ladder.models)[0]
        prompt = self.ladder.models.get(assistant.model).render_text(request.messages)
        look = FIRST if effort.dev_rows else WORK
        self.ladder.write_predictions(name, "dev", dev)
        write_method_record(self.ladder.run, method, assistant, context, prompt, look)
        self.ladder.row_seconds.pop(name, None)
        self.ladder.release_weights(assistant)
        self.ladder.report_side(name, "dev", dev, context.seconds)
        self.ladder.on_result()

    def _is_worse_than_first(self, name: str, rows: Sequence[ScoredAnswer]) -> bool:
        """Whether a method scores lower than in its first look, on the dev rows that both looks
        answered, by more than the margin and by more than one row.
        """
        first = {
            line["id"]: parse_outcome(line)
            for line in self.ladder.run.read_predictions(name)
            if line["side"] == "dev"
        }
        shared = [row.outcome for row in rows if row.example.id in first]
        before = [first[row.example.id] for row in rows if row.example.id in first]
        samples = [build_sample(self.ladder.metric, outcomes) for outcomes in (shared, before)]
        least = max(self.ladder.task.margin, 1 / max(1, len(shared)))
        return bool(shared) and samples[0].value < samples[1].value - least - 1e-9

    def _report_first(self, name: str, candidate: str, rows: Sequence[ScoredAnswer]) -> None:
        estimate = estimate_sample(build_sample(self.ladder.metric, [row.outcome for row in rows]))
        figure = (
            f"{format_percent(estimate.value)} on dev ({format_interval(estimate)}, n = "
            f"{estimate.n:,})"
        )
        self.ladder.on_event(
            NoteEvent(f"First figure: {format_method(name)}, {candidate}: {figure}.")
        )

    def _make_context(
        self, method: Method, part: str, effort: Effort, seconds: float | None, first_seconds: float
    ) -> FitContext:
        name = method.name
        begin = self.ladder.clock.now()
        clock = self.ladder.clock
        folder = self.ladder.run.method_folder(name)
        is_known = (folder / "method.json").exists()
        simpler = self.ladder.methods[: self.ladder.methods.index(method)]
        lower = [
            self.ladder.run.method_folder(other.name) / look
            for other in simpler
            for look in (WORK, FIRST)
        ]
        log = TrainingLog(name, folder / "train.jsonl", self.ladder.on_event)
        limit = (
            math.inf if seconds is None else max(seconds, FIRST_LOOK_LIMIT * (clock.budget or 0.0))
        )

        def log_step(line: Mapping[str, Any]) -> None:
            log(line)
            if clock.is_stopped and clock.now() - begin < first_seconds:
                raise LookStopped  # the first look has trained for longer

        return FitContext(
            models=self.ladder.models,
            metric=self.ladder.metric,
            folder=folder / part,
            effort=effort,
            seed=self.ladder.task.seed,
            margin=self.ladder.task.margin,
            on_answers=partial(self.ladder.report_dev_rows, name),
            row_seconds=self.ladder.get_row_seconds(name) or None if is_known else None,
            on_first=partial(self._report_first, name),
            log=log_step,
            search_log=TrainingLog(name, folder / "search.jsonl", self.ladder.on_event),
            has_time_for=lambda more: (
                not clock.is_stopped and (seconds is None or clock.now() + more <= begin + seconds)
            ),
            is_overdue=lambda: clock.now() - begin > limit,
            is_stopped=lambda: clock.is_stopped,
            engine=self.ladder.task.engine,
            race=None if seconds is None else self._start_race(name),
            first_look=folder / FIRST if part == WORK and is_known else None,
            preferences=self.ladder.preferences if "preferences" in method.keys else {},
            # A longer look reuses the answers of the first one.
            lower_folders=[
                other
                for other in (*lower, folder / FIRST)
                if other.exists() and other != folder / part
            ],
        )


def is_quick(method: Method) -> bool:
    """Whether a method takes seconds, because it trains no weights and asks no language or decision
    model.
    """
    return not (method.tuned or method.asks_model or "decision_model" in method.keys)


def _stands_alone(method: Method) -> bool:
    """Whether a method neither builds on the methods before it nor is built on by those after it,
    apart from the prompt that all start from.
    """
    return not (method.prompted or method.same_rows_as or method.searches)


def _fit_on_worker(
    position: int, ladder_run: LadderRun, start: Assistant
) -> tuple[list[Event], dict[str, None], Exception | None]:
    """Fit the method at a position of the ladder in this process. Returns the events of its
    results, the notes of its models, and its error.
    """
    events = ladder_run.start_on_worker()
    method = ladder_run.methods[position]
    error = None
    try:
        Looks(ladder_run)._fit(method, start, WORK, Effort(), None)
    except STOPPING_ERRORS:
        raise
    except Exception as failure:  # noqa: BLE001 - as in `continue_without`, where it is raised again
        failure.add_note(traceback.format_exc())
        error = failure
        ladder_run.models.clear()
    return events, ladder_run.models.notes, error
