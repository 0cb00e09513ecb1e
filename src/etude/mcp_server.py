"""An MCP server: check, compare, read a verdict, test and ask an assistant, as tools for editors and assistants.

The tools call the same functions as the command line. Work that trains or takes minutes starts only after the client's
user has confirmed it. Nothing is sent to another machine or paid: that needs a confirmation at the command line.
Importing this module needs the extra `mcp`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from anyio import Lock, to_thread
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from etude.errors import EtudeError, RunError
from etude.runs.recommended import find_assistant_folder, find_run_at, load_to_ask
from etude.runs.verdict import Verdict
from etude.types import Answer

Result = TypeVar("Result")
MAX_FINDINGS = 50
"""Maximum number of findings in a reply; the reply also has the number of all findings."""
MAX_LOCATIONS = 10
"""Maximum number of locations of a finding in a reply."""
INSTRUCTIONS = (
    "Étude measures whether a task needs fine-tuning, a better prompt or no language model. Check the examples first, "
    "then compare methods, then read the verdict. Every number has its interval and n."
)


class Confirmation(BaseModel):
    """The answer of the client's user before work begins."""

    go_on: bool


Outcome = ElicitationResult[Confirmation]
"""Also a refusal; the tool then says what to do."""


async def confirm_compare(
    context: Context[Any, Any], task: str, budget_minutes: float
) -> Elicit[Confirmation]:
    """Ask before methods are compared."""
    _require_questions(context, f"etude compare {task}")
    minutes = f"{budget_minutes:g} minutes"
    return Elicit(
        f"Compare the methods of {task}? This trains models on this machine for about {minutes}.",
        Confirmation,
    )


async def confirm_test(context: Context[Any, Any], place: str) -> Elicit[Confirmation]:
    """Ask before an assistant is tested."""
    _require_questions(context, f"etude test {place}")
    return Elicit(
        f"Test the assistant of {place}? It will answer up to a few hundred questions.", Confirmation
    )


async def check_examples(task: str) -> dict[str, Any]:
    """Check the examples of a task file (`task`: its path) for errors, private data and doubtful rows."""
    from etude.checks import check

    findings = await _run(lambda: list(check(task)))
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


async def compare_methods(
    task: str,
    confirmation: Annotated[Outcome, Resolve(confirm_compare)],
    budget_minutes: float = 10.0,
) -> dict[str, Any]:
    """Compare baseline, prompts, retrieval and fine-tuning of a task file on one sealed test, and return the verdict.
    Calling this again continues a comparison that was stopped."""
    from etude.comparison.compare import compare

    _require(confirmation)
    comparison = await _run(lambda: compare(task, budget=60 * budget_minutes))
    return _verdict_fields(comparison.verdict)


async def show_verdict(place: str) -> dict[str, Any]:
    """The verdict of the latest finished comparison of `place` (a task file or a run folder), with its numbers."""

    def read() -> Verdict:
        run = find_run_at(Path(place), prefer_complete=True)
        if run.verdict is None:
            raise RunError(f"{run.folder} has no verdict. Compare the methods first.")
        return run.verdict

    return _verdict_fields(await _run(read))


async def run_behaviour_test(
    place: str, confirmation: Annotated[Outcome, Resolve(confirm_test)], quick: bool = True
) -> dict[str, Any]:
    """Ask the recommended assistant of `place` normal, unusual, tricky and sensitive questions, and return which gates
    passed. `quick` asks only some of them."""
    from etude.suites.results import SuiteReport
    from etude.suites.run import run_suites

    _require(confirmation)

    def test() -> SuiteReport:
        load_to_ask(Path(place))  # refuses an assistant whose questions would be sent to another machine
        return run_suites(place, quick=quick)

    results = await _run(test)
    return {"passed": results.passed, "page": str(results.page)}


def build_server() -> MCPServer[Any]:
    """Build the server with its five tools. It loads each assistant once, and answers one question at a time."""
    server: MCPServer[Any] = MCPServer("etude", instructions=INSTRUCTIONS)
    load_once = lru_cache(load_to_ask)
    asking = Lock()

    async def ask_assistant(place: str, question: str) -> dict[str, Any]:
        """The answer of the recommended assistant of `place` (a task file or a run folder) to one question, with its
        confidence and sources."""

        def answer_question() -> Answer:
            # found for each question, because a new comparison may recommend another assistant
            assistant, models = load_once(find_assistant_folder(Path(place)))
            return assistant.answer(question, models)

        async with asking:
            answer = await _run(answer_question)
        return {
            "answer": answer.shown,
            "keeps_contract": answer.keeps_contract,
            "confidence": answer.confidence,
            "handed_over": answer.handed_over,
            "limit": answer.limit,
            "citations": list(answer.citations),
        }

    for tool in (check_examples, compare_methods, show_verdict, run_behaviour_test, ask_assistant):
        server.tool(structured_output=False)(tool)
    return server


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
    rows = [
        {"method": row.method, **asdict(row.estimate), "status": row.status, "learned_from": row.learned}
        for row in verdict.ladder
    ]
    recommended = {"sentence": verdict.sentence, "recommended": verdict.recommended}
    return {**recommended, "ladder": rows, "caveats": list(verdict.caveats)}


def _require_questions(context: Context[Any, Any], command: str) -> None:
    """Raise ToolError, with the command to run instead, if the client cannot ask its user."""
    capabilities = context.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        raise ToolError(
            f"This client cannot ask you for confirmation, so nothing was started. Run: {command}"
        )


def _require(outcome: Outcome) -> None:
    if not (isinstance(outcome, AcceptedElicitation) and outcome.data.go_on):
        raise ToolError("Nothing was started, because the user declined.")


async def _run(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread, so that the server can answer meanwhile. Étude's errors become errors of the tool."""
    try:
        return await to_thread.run_sync(work)
    except EtudeError as error:
        raise ToolError(str(error)) from error
