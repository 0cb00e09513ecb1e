"""`etude play`: whole conversations, in which an assistant reads its own earlier answers and its
calls are run.

The turns of the user come from the test rows. All conversations of a group go on at the same time,
an answer each per step, so that the model answers batches. Every batch of answers, and every result
of calls, is on disk before the next. A play decides nothing: it shows what the scores with the true
history do not, mistakes that follow from mistakes.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from etude import assistant as saved
from etude.assistant import Assistant, PromptLimit
from etude.base.files import Json, append_line, hash_text, list_lines, write_json
from etude.base.formatting import format_percent
from etude.base.issues import check_known
from etude.data.dataset import load_dataset, load_test
from etude.data.formats.tools import split_calls, split_results
from etude.errors import InputError, Issue, RunError, quote_value
from etude.evaluate import AnswerLog, answer_in_batches, get_unit
from etude.metrics import Metric, restore_metric
from etude.models.registry import Models
from etude.report import write_report
from etude.runs import Run
from etude.runs.details import PlayResult
from etude.runs.fingerprints import hash_code_files
from etude.runs.folder import PLAYS
from etude.runs.questions import Confirm, SendLimits, answer_unasked, confirm_service
from etude.runs.recommended import load_endpoints
from etude.stats import estimate, estimate_difference, make_score_sample
from etude.task import Task, load_task
from etude.task.tool_class import TOOL_LIMITS, ToolError, ToolLimits, ToolRef, ToolSession
from etude.tool_loop import ToolLoop, ToolStep, list_calls
from etude.types import Answer, Estimate, Example, Message

GROUP = 64  # conversations that go on at the same time, each with a process for its tools
OnProgress = Callable[[str, int, int], None]
"""Called with the method, the number of user turns that were played, and of all."""


@dataclass(frozen=True)
class PlayReport:
    """The results by method, and notes."""

    results: Mapping[str, PlayResult]
    notes: tuple[str, ...]
    folder: Path
    """A file of transcripts for each method."""


def play(
    run: Run,
    methods: Sequence[str] = (),
    *,
    limits: ToolLimits = TOOL_LIMITS,
    models: Models | None = None,
    on_progress: OnProgress = lambda name, done, total: None,
    confirm: Confirm = answer_unasked,
) -> PlayReport:
    """Play the test conversations of a run with its measured assistants (`methods`; empty for all).
    Writes plays.json.

    The same call continues a play that was stopped. `confirm` is asked before questions are sent to
    a service. Raises RunError without test answers, InputError for rows and tools that cannot be
    played, with all errors, Declined.
    """
    task, conversations = _load_conversations(run)
    true_scores = {name: _read_true_scores(run, name, conversations) for name in run.fitted_methods}
    known = [name for name, scores in true_scores.items() if scores]
    if not known:
        raise RunError(
            f"Run {run.name} has no answers to whole test conversations. Run `etude compare` to "
            "the end."
        )
    check_known("--method", methods, known, "no test answers of this method")
    check = task.check.load() if task.check else None
    metric = restore_metric(run.info["metric"], task.kind, check)
    total = run.info["split"]["test"]
    results = dict[str, PlayResult]()
    cut = [
        f"{name} {len(scores)} of {total}"
        for name, scores in true_scores.items()
        if len(scores) < total
    ]
    counts = (
        "Only conversations of which the comparison answered every turn are played: "
        f"{', '.join(cut)}."
    )
    notes = [f"{counts} For all, compare with a larger budget."] if cut else []
    with run.lock():
        on_progress("Checking the tools", 0, 1)
        has_finished = task.tools is not None and task.tools.describe().has_finished
        if task.tools and has_finished:
            tested = dict.fromkeys(row_id for name in known for row_id in true_scores[name])
            value = _check_finished(
                task.tools, [conversations[row_id] for row_id in tested], limits
            ).value
            notes += [
                f"After the calls of the rows themselves, {format_percent(value)} of the tasks "
                "are finished."
            ]
        code = [hash_code_files(task, ref.file) for ref in (task.check, task.tools) if ref]
        for name in [name for name in known if name in (methods or known)]:
            assistant = saved.load(run.assistant_folder(name))
            rows = [conversations[row_id] for row_id in true_scores[name]]
            player = _Player(
                assistant,
                models or Models(endpoints=load_endpoints(assistant, run)),
                metric,
                run.folder / PLAYS / name,
                hash_text(json.dumps([code, asdict(limits), has_finished, "scores"]), 8),
                task.tools,
                limits,
                has_finished,
            )
            player.confirm(rows, confirm)
            lines = player.play(rows, lambda done, total, name=name: on_progress(name, done, total))  # type: ignore[misc]
            results[name] = _measure(rows, list(true_scores[name].values()), lines)
        folder = run.folder / PLAYS
        write_json(
            run.folder / f"{PLAYS}.json", {name: asdict(each) for name, each in results.items()}
        )
        if run.verdict:
            write_report(run.folder)
    return PlayReport(results, tuple(notes), folder)


def _load_conversations(run: Run) -> tuple[Task, dict[str, list[Example]]]:
    """Load the questions of each test conversation, in their order."""
    task, rows = load_dataset(load_task(run.task_file))
    if task.turns != "all":
        message = "a play needs the scores of all turns"
        remedy = "write turns: all, and compare again"
        raise InputError.of(task.file.name, message, f"turns: {task.turns}", remedy)
    conversations: dict[str, list[Example]] = {}
    for row in load_test(task) or rows:
        conversations.setdefault(str(row.conversation), []).append(row)
    for questions in conversations.values():
        questions.sort(key=lambda row: len(row.input))
    if task.tools is None:
        remedy = "set tools: in the task file to a class that runs them"
        issues = [
            Issue(
                questions[-1].location,
                "the row calls functions, which a play must run",
                "",
                remedy,
                "tools",
            )
            for questions in conversations.values()
            if any(split_calls(row.output)[1] for row in questions)
        ]
        if issues:
            raise InputError(issues)
    return task, conversations


def _read_true_scores(
    run: Run, method: str, conversations: Mapping[str, Sequence[Example]]
) -> dict[str, list[float]]:
    """Read the scores of each conversation's turns on the test; a budget may have left out some
    turns.
    """
    scores: dict[str, list[float]] = {}
    for line in run.read_predictions(method):
        if line["side"] == "test" and "conversation" in line:
            scores.setdefault(line["conversation"], []).append(line["score"])
    if missing := [name for name in scores if name not in conversations]:
        remedy = "Restore the file of rows, or compare again."
        raise RunError(
            f"{len(missing):,} test conversations of {run.name} are missing, such as "
            f"{missing[0]}. {remedy}"
        )
    return {name: found for name, found in scores.items() if len(found) == len(conversations[name])}


def _check_finished(
    tools: ToolRef, conversations: Iterable[Sequence[Example]], limits: ToolLimits
) -> Estimate:
    """Estimate how far the tasks are finished after the rows' own calls. Raises InputError with
    every row on which no object can be made or `finished` fails.
    """
    values = []
    issues = []
    session = ToolSession(tools, limits=limits)
    for row in (questions[-1] for questions in conversations):
        texts = [*(turn.content for turn in row.input if turn.role == "assistant"), row.output]
        try:
            session.begin(row, list_calls("\n".join(texts)))
            values.append(session.finish())
        except ToolError as error:
            issues.append(_finished_issue(row, tools, error))
    session.close()
    if issues:
        raise InputError(issues)
    return estimate(values)


def _finished_issue(row: Example, tools: ToolRef, error: ToolError) -> Issue:
    message = f"finished fails on the row {row.id} ({row.location or 'no file'})"
    return Issue(
        error.location, message, quote_value(str(error)), f"correct {tools.file.name} and run again"
    )


def _measure(
    rows: Sequence[Sequence[Example]], true_scores: Sequence[Sequence[float]], lines: Sequence[Json]
) -> PlayResult:
    units = [get_unit(questions[-1]) for questions in rows]
    turn_units = [unit for unit, scores in zip(units, true_scores, strict=True) for _ in scores]
    played_scores = [line["scores"] for line in lines]
    whole, played = ([min(one) for one in scores] for scores in (true_scores, played_scores))
    problems = [problem.partition(":")[0] for line in lines for problem in {*line["problems"]}]
    has_finished = bool(lines) and lines[0]["finished"] is not None
    turns, played_turns = (
        [score for one in scores for score in one] for scores in (true_scores, played_scores)
    )
    return PlayResult(
        estimate(turns, turn_units),
        estimate(played_turns, turn_units),
        estimate_difference(
            make_score_sample(turns, turn_units), make_score_sample(played_turns, turn_units)
        ),
        estimate(whole, units),
        estimate(played, units),
        estimate([line["finished"] for line in lines], units) if has_finished else None,
        {problem: problems.count(problem) for problem in dict.fromkeys(problems)},
        sum(line["seconds"] for line in lines),
    )


@dataclass(frozen=True)
class _Player:
    """Plays conversations with one assistant."""

    assistant: Assistant
    models: Models
    metric: Metric
    folder: Path
    key: str  # a hash of the user's code and the limits
    tools: ToolRef | None
    limits: ToolLimits
    has_finished: bool

    @property
    def journal(self) -> Path:
        """The file of results of calls, and of transcripts."""
        return self.folder / f"{self.assistant.fingerprint}-{self.key}.jsonl"

    def confirm(self, rows: Sequence[Sequence[Example]], confirm: Confirm) -> None:
        """Ask before the conversations that were not played are sent to a service. Raises
        Declined.
        """
        ended = {line["id"] for line in list_lines(self.journal) if "score" in line}
        left = [questions for questions in rows if questions[-1].id not in ended]
        if not left or (service := self.models.find_service(self.assistant.model.name)) is None:
            return
        model = self.models.get(self.assistant.model)
        counts = [len(questions) + (self.limits.calls if self.tools else 0) for questions in left]
        sizes = [
            model.count_tokens(self.assistant.build_messages(questions[-1].input))
            for questions in left
        ]
        num_tokens = sum(count * size for count, size in zip(counts, sizes, strict=True))
        sending = SendLimits(sum(counts), num_tokens, sum(counts) * self.assistant.max_tokens)
        purpose = f"will get the test conversations, with the answers of {self.assistant.method}"
        confirm_service(service, sending, purpose, lambda event: None, confirm)

    def play(
        self, rows: Sequence[Sequence[Example]], on_turns: Callable[[int, int], None]
    ) -> list[Json]:
        """Return the transcript of each conversation. Raises InputError if `finished` fails, after
        all are played.
        """
        self.models.keep_only(self.assistant.model)
        lines = list_lines(self.journal)
        issues = list[Issue]()
        ended = {line["id"]: line for line in lines if "score" in line}
        results = {(line["id"], line["step"]): line for line in lines if "results" in line}
        played = [_Conversation(questions, self) for questions in rows]
        total = sum(len(conversation.script) for conversation in played)
        for start in range(0, len(played), GROUP):
            group = played[start : start + GROUP]
            try:
                if any(conversation.row.id not in ended for conversation in group):
                    for _ in self._play_group(group, results):
                        on_turns(sum(conversation.place for conversation in played), total)
                for conversation in group:
                    conversation.place = len(conversation.script)
                    if conversation.row.id not in ended:
                        ended[conversation.row.id] = conversation.to_line(issues)
            finally:
                for conversation in group:
                    conversation.loop.close()
            on_turns(sum(conversation.place for conversation in played), total)
        if issues:
            raise InputError(issues)
        return [ended[questions[-1].id] for questions in rows]

    def _play_group(
        self, group: Sequence["_Conversation"], results: Mapping[tuple[str, int], Json]
    ) -> Iterator[None]:
        """Play conversations side by side, a batch at a time."""
        limit = PromptLimit(
            self.assistant, self.models.get(self.assistant.model, *self.assistant.needs)
        )
        for conversation in group:
            conversation.begin_turn()
        while active := [conversation for conversation in group if not conversation.is_over]:
            asked = [conversation for conversation in active if conversation.fits(limit)]
            # Answered conversations go on while others wait, so the questions are copied first.
            inputs = [tuple(conversation.turns) for conversation in asked]
            body = json.dumps([[turn.content for turn in turns] for turns in inputs])
            digest = hash_text(body)
            log = AnswerLog(
                self.folder / "answers" / f"{self.assistant.fingerprint}-{digest}.jsonl"
            )
            build = partial(self.assistant.build_requests, inputs, self.models)
            ids = [conversation.row.id for conversation in asked]
            batches = (
                answer_in_batches(self.assistant, self.models, ids, build, log) if asked else ()
            )
            for _, answers in batches:
                for position, answer in answers.items():
                    asked[position].take(answer, results)
                yield


class _Turn(NamedTuple):
    messages: list[Message]  # a turn of the user, and the turns of the row until the next one
    questions: list[
        Example | None
    ]  # the row of each answer; None for an answer of weight 0, which is not scored


class _Conversation:
    """A conversation while it is played."""

    def __init__(self, questions: Sequence[Example], player: _Player) -> None:
        self.row = questions[-1]
        self.player = player
        self.script, self.turns = _read_script(questions)
        self.session = ToolSession(player.tools, self.row, player.limits) if player.tools else None
        self.loop = ToolLoop(self.turns, self.session)
        self.answers: list[Answer] = []  # to the present turn of the user
        self.problems: list[str] = []
        self.place = self.num_answers = 0
        self.scores = list[float]()
        self.seconds = 0.0

    @property
    def is_over(self) -> bool:
        return self.place >= len(self.script)

    def begin_turn(self) -> None:
        """Add the next turn of the user that is to be answered, with turns before it that are only
        history.
        """
        while not self.is_over and not any(self.script[self.place].questions):
            self.turns += self.script[self.place].messages
            self.place += 1
        if not self.is_over:
            self.turns.append(self.script[self.place].messages[0])

    def fits(self, limit: PromptLimit) -> bool:
        """Whether the turns fit the model's context; if not, the conversation ends."""
        if not (is_fitting := limit.fits(self.turns)):
            self._stop(f"longer than the {limit.tokens:,} tokens that a prompt may have")
        return is_fitting

    def take(self, answer: Answer, results: Mapping[tuple[str, int], Json]) -> None:
        """Add an answer, run its calls, and go on to the next turn of the user if there are
        none.
        """
        self.answers.append(answer)
        self.num_answers = self.num_answers + 1
        self.seconds = self.seconds + answer.seconds
        line = results.get((self.row.id, self.num_answers))
        step = self.loop.take(
            answer.shown,
            ToolStep(line["results"], line["problems"], line["calls"]) if line else None,
        )
        if self.loop.problem:
            self._stop(self.loop.problem)
        elif step is None:
            self._score_turn()
        else:
            self.problems += step.problems
            if line is None:
                append_line(
                    self.player.journal,
                    {"id": self.row.id, "step": self.num_answers, **asdict(step)},
                )

    def _score_turn(self) -> None:
        questions = self.script[self.place].questions
        pairs = zip(questions, self.answers, strict=False)
        scores = [
            self.player.metric.score_headline(row, answer).value for row, answer in pairs if row
        ]
        self.scores += (
            scores if len(questions) == len(self.answers) else [0.0 for row in questions if row]
        )
        self.answers = []
        self.place = self.place + 1
        self.begin_turn()

    def _stop(self, problem: str) -> None:
        self.problems.append(problem)
        self.place = len(self.script)

    def to_line(self, issues: list[Issue]) -> Json:
        """Write the transcript. If `finished` fails, add an issue instead, so that it is asked
        again.
        """
        num_scored = sum(row is not None for turn in self.script for row in turn.questions)
        scores = [*self.scores, *[0.0] * (num_scored - len(self.scores))]
        line: Json = {
            "id": self.row.id,
            "location": self.row.location,
            "score": min(scores),
            "scores": scores,
        }
        line |= {"finished": None, "problems": self.problems, "seconds": self.seconds}
        line["turns"] = [{"role": turn.role, "content": turn.content} for turn in self.turns]
        if self.session and self.player.has_finished:
            try:
                line["finished"] = self.session.finish()
            except ToolError as error:
                issues.append(_finished_issue(self.row, self.session.ref, error))
                return line
        append_line(self.player.journal, line)
        return line


def _read_script(questions: Sequence[Example]) -> tuple[list[_Turn], list[Message]]:
    """Return the turns of the user in a conversation, and the system turn before them."""
    row = questions[-1]
    script = list[_Turn]()
    first = list[Message]()
    rows = {len(question.input): question for question in questions}
    for place, turn in enumerate((*row.input, Message("assistant", row.output))):
        if turn.role == "system":
            first.append(turn)
        elif turn.role == "user" and not split_results(turn.content):
            script.append(_Turn([turn], []))
        else:
            script[-1].messages.append(turn)
            if turn.role == "assistant":
                script[-1].questions.append(rows.get(place))
    return script, first
