"""An MCP server: write a task file, check, compare, read a verdict, test and ask, as tools for
editors and assistants.

The tools call the same functions as the command line. Work that trains or takes minutes starts only
after the client's user has confirmed it. Nothing is sent to another machine or paid: that needs a
confirmation at the command line. Importing this module needs the extra `mcp`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from anyio import Lock, from_thread, to_thread
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from etude import __version__
from etude.base.formatting import format_time
from etude.base.progress import listen_to_progress
from etude.errors import EtudeError, RunError
from etude.runs import Run, events, find_task_runs
from etude.runs.progress import ProgressPrinter
from etude.runs.recommended import find_assistant_folder, find_run_at, load_to_ask
from etude.task import load_task
from etude.types import Answer

Result = TypeVar("Result")
AnyContext = Context[Any, Any]
MAX_FINDINGS = 50
"""Maximum number of findings in a reply; the reply also has the number of all findings."""
MAX_LOCATIONS = 10
"""Maximum number of locations of a finding in a reply."""
BUDGET_MINUTES = 10.0
INSTRUCTIONS = (
    "Étude measures whether a task needs fine-tuning, a better prompt or no language model. For a "
    "file of examples, call write_task_file first; then check_examples, compare_methods and "
    "show_verdict with the path of the task file. Every number has its interval and n."
)

TaskFile = Annotated[str, Field(description="Path of a task file, which write_task_file writes.")]
Place = Annotated[str, Field(description="Path of a task file, or of the folder of a run.")]
Budget = Annotated[
    float | None,
    Field(
        ge=1,
        le=100_000,
        description="Minutes of work. Default: the budget in the task file, else that of the "
        f"task's latest comparison, else {BUDGET_MINUTES:g}. Another budget is another run, which "
        "opens the test again.",
    ),
]


class Confirmation(BaseModel):
    """The answer of the client's user before work begins."""

    go_on: bool


Outcome = ElicitationResult[Confirmation]
"""Also a refusal; the tool then says what to do."""


async def confirm_compare(
    context: AnyContext, task: str, budget_minutes: float | None
) -> Elicit[Confirmation]:
    """Ask before methods are compared; if that opens the test of an earlier comparison again, say
    so.
    """
    _require_questions(context, f"etude compare {task}")
    budget, opened = await _run_tool(lambda: choose_budget(task, budget_minutes))
    again = f" {opened.name} had another budget, so this opens its test again." if opened else ""
    limit = "without a time limit" if math.isinf(budget) else f"for about {format_time(budget)}"
    return Elicit(
        f"Compare the methods of {task}? This trains models on this machine {limit}.{again}",
        Confirmation,
    )


async def confirm_test(context: AnyContext, place: str) -> Elicit[Confirmation]:
    """Ask before an assistant is tested."""
    _require_questions(context, f"etude test {place}")
    return Elicit(
        f"Test the assistant of {place}? It will answer up to a few hundred questions.",
        Confirmation,
    )


async def write_task_file(
    examples: Annotated[
        str,
        Field(
            description="Path of a .jsonl, .json, .csv, .tsv, .parquet or .xlsx file of examples."
        ),
    ],
    output: Annotated[
        str | None, Field(description="File to write. Default: task.yaml next to the examples.")
    ] = None,
) -> dict[str, Any]:
    """Write a task file for a file of examples, and return what was guessed from the rows. Read the
    text and correct wrong guesses in the file. No file is overwritten.
    """
    from etude.data.starter import write_starter

    starter = await _run_tool(lambda: write_starter(Path(examples), output))
    return {"task": str(starter.task_file), "guesses": list(starter.guesses), "text": starter.text}


async def check_examples(task: TaskFile) -> dict[str, Any]:
    """Check the examples of a task file for errors, private data and doubtful rows."""
    from etude.checks import check

    findings = await _run_tool(lambda: list(check(task)))
    listed = [
        {
            "kind": finding.kind,
            "severity": finding.severity,
            "message": finding.message,
            "remedy": finding.remedy,
            "locations": list(finding.locations[:MAX_LOCATIONS]),
            "num_rows": len(finding.rows),
        }
        for finding in findings[:MAX_FINDINGS]
    ]
    return {"num_findings": len(findings), "findings": listed}


async def show_verdict(place: Place) -> dict[str, Any]:
    """Return the verdict of the latest finished comparison, with its numbers."""
    return await _run_tool(lambda: read_verdict(find_run_at(Path(place), prefer_complete=True)))


class SlowTools:
    """The tools that need models. One comparison or test runs at a time, and one question is
    answered at a time.
    """

    def __init__(self) -> None:
        self.working = Lock()
        self.asking = Lock()
        self.load_once = lru_cache(load_to_ask)

    async def compare_methods(
        self,
        context: AnyContext,
        task: TaskFile,
        confirmation: Annotated[Outcome, Resolve(confirm_compare)],
        budget_minutes: Budget = None,
    ) -> dict[str, Any]:
        """Compare baseline, prompts, retrieval and fine-tuning of a task file on one sealed test,
        and return the verdict. After a cancellation, the same call continues the comparison.
        """
        from etude.comparison.compare import compare

        _require(confirmation)

        def compare_within() -> dict[str, Any]:
            budget, _ = choose_budget(task, budget_minutes)
            printer = ProgressPrinter(_build_progress(context))

            def handle_event(event: events.Event) -> None:
                if not isinstance(event, events.RunEnded):  # which also ends a cancelled run
                    from_thread.check_cancelled()
                    printer(event)

            return read_verdict(compare(task, budget=budget, on_event=handle_event).run)

        async with self.working:
            return await _run_tool(compare_within)

    async def run_behaviour_test(
        self,
        context: AnyContext,
        place: Place,
        confirmation: Annotated[Outcome, Resolve(confirm_test)],
        quick: Annotated[
            bool,
            Field(description="Ask only some of the questions, which leaves many gates undecided."),
        ] = True,
    ) -> dict[str, Any]:
        """Ask the recommended assistant normal, unusual, tricky and sensitive questions. `passed`
        is null if no gates are set in the task file, or if too few cases were asked to decide them.
        """
        from etude.suites.output.summary import format_headline
        from etude.suites.run import run_suites

        _require(confirmation)

        def test() -> dict[str, Any]:
            load_to_ask(
                Path(place)
            )  # refuses an assistant whose questions would be sent to another machine
            report_line = _build_progress(context)
            report = run_suites(
                place,
                quick=quick,
                on_progress=lambda name, done, total, _: report_line(
                    f"{name}: {done:,} of {total:,} cases"
                ),
            )
            outcomes = {gate.outcome for gate in report.gates}
            gates = [
                {"gate": gate.gate.text, "outcome": gate.outcome, "detail": gate.detail}
                for gate in report.gates
            ]
            return {
                "result": f"{format_headline(report)}.",
                "passed": False
                if "failed" in outcomes
                else True
                if outcomes == {"passed"}
                else None,
                "gates": gates,
                "page": str(report.page),
            }

        async with self.working:
            return await _run_tool(test)

    async def ask_assistant(
        self,
        place: Place,
        question: Annotated[str, Field(description="What a user of the assistant would write.")],
    ) -> dict[str, Any]:
        """Return the recommended assistant's answer to one question, with its confidence and
        sources.
        """

        def answer_question() -> Answer:
            # found for each question, because a new comparison may recommend another assistant
            assistant, models = self.load_once(find_assistant_folder(Path(place)))
            return assistant.answer(question, models)

        async with self.asking:
            answer = await _run_tool(answer_question)
        return {
            "answer": answer.shown,
            "keeps_contract": answer.keeps_contract,
            "confidence": answer.confidence,
            "handed_over": answer.handed_over,
            "limit": answer.limit,
            "citations": list(answer.citations),
        }


def build_server() -> MCPServer[Any]:
    """Build the server with its six tools. It loads each assistant once, and answers one question
    at a time.
    """
    slow = SlowTools()
    tools = [
        build_tool(write_task_file, "Write a task file", is_idempotent=False),
        build_tool(check_examples, "Check examples", is_read_only=True),
        build_tool(slow.compare_methods, "Compare methods"),
        build_tool(show_verdict, "Show a verdict", is_read_only=True),
        build_tool(slow.run_behaviour_test, "Test an assistant"),
        build_tool(slow.ask_assistant, "Ask an assistant", is_read_only=True),
    ]
    return MCPServer("etude", version=__version__, instructions=INSTRUCTIONS, tools=tools)


def build_tool(
    function: Callable[..., Any], title: str, is_read_only: bool = False, is_idempotent: bool = True
) -> Tool:
    """Build a tool that refuses unknown arguments. No tool overwrites a file or reaches another
    machine.
    """
    hints = ToolAnnotations(
        title=title,
        read_only_hint=is_read_only,
        destructive_hint=False,
        idempotent_hint=is_idempotent,
        open_world_hint=False,
    )
    tool = Tool.from_function(function, title=title, annotations=hints, structured_output=False)
    arguments = tool.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)
    tool.parameters = arguments.model_json_schema(by_alias=True)
    return tool


def choose_budget(task_file: str, minutes: float | None) -> tuple[float, Run | None]:
    """Choose the seconds of a comparison as `Budget` says. Return also the latest comparison whose
    test a new run would open again, if the task has no comparison with this budget.
    """
    task = load_task(Path(task_file), needs_model=False)
    runs = [run for run in find_task_runs(task.file) if run.command == "compare"]
    budgets = [run.info["budget_seconds"] or math.inf for run in runs]
    budget = (
        60 * minutes if minutes else task.budget_seconds or next(iter(budgets), 60 * BUDGET_MINUTES)
    )
    opened = [run for run in runs if "openings" in run.info]
    return budget, opened[0] if opened and budget not in budgets else None


def read_verdict(run: Run) -> dict[str, Any]:
    """Read the verdict of a run as fields. Raises RunError if it has none."""
    if (verdict := run.verdict) is None:
        raise RunError(f"{run.folder} has no verdict. Compare the methods first.")
    rows = [
        {
            "method": row.method,
            **asdict(row.estimate),
            "status": row.status,
            "learned_from": row.learned,
        }
        for row in verdict.ladder
    ]
    return {
        "sentence": verdict.sentence,
        "recommended": verdict.recommended,
        "ladder": rows,
        "caveats": list(verdict.caveats),
        "report": str(run.folder / "report.html"),
    }


def _require_questions(context: AnyContext, command: str) -> None:
    """Raise ToolError, with the command to run instead, if the client cannot ask its user."""
    capabilities = context.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        raise ToolError(
            f"This client cannot ask you for confirmation, so nothing was started. Run: {command}"
        )


def _require(outcome: Outcome) -> None:
    if not (isinstance(outcome, AcceptedElicitation) and outcome.data.go_on):
        raise ToolError("Nothing was started, because the user declined.")


def _build_progress(context: AnyContext) -> Callable[[str], None]:
    """Build a function that sends a line of progress from the thread of `_run_tool`, and ends a
    cancelled call there. The number that clients get is the seconds so far, because the end is not
    known.
    """
    started = time.monotonic()

    def report_line(text: str) -> None:
        from_thread.check_cancelled()
        from_thread.run(context.report_progress, time.monotonic() - started, None, text)

    return report_line


async def _run_tool(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread, so that the server can answer meanwhile. Étude's errors become errors
    of the tool.

    A cancelled call ends at the next line of progress, and then returns: what it had locked is free
    again.
    """

    def run() -> Result:
        with listen_to_progress(lambda share: from_thread.check_cancelled()):
            return work()

    try:
        return await to_thread.run_sync(run)
    except EtudeError as error:
        raise ToolError(str(error)) from error
