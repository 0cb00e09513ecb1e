"""The pages of the studio: one function for each page, one for each form."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from etude.base.files import Json
from etude.base.formatting import format_command, format_count
from etude.base.pages import create_environment, read_asset
from etude.checks.output.html_page import split_excerpt
from etude.errors import EtudeError, RunError
from etude.feedback import Feedback, drop_undone, new_id
from etude.feedback.agreement import measure_agreement
from etude.feedback.apply import EXCLUDED, apply_feedback
from etude.feedback.entry import utc_now
from etude.limits.acts import ACT_WORDS
from etude.methods import format_method
from etude.repair.fix_file import format_source_line
from etude.report.headline import read_headline
from etude.runs import Run, find_run, find_task_runs
from etude.studio import conversation
from etude.studio.review_queue import ReviewItem, Source
from etude.studio.row_store import FILTERS, PAGE_ROWS, DataRow, RowFilter
from etude.studio.sign_in import Role, SignIn
from etude.studio.studio import Studio
from etude.studio.suite_result import load_suite_result, suite_folder
from etude.suites.teach import read_proposals, save_decision, write_approved_examples
from etude.types import CLASSICAL, Message
from etude.web.shell import LOOPBACK, Shell

NAME_COOKIE = "etude-name"
SIGNED_OUT = "This browser is not signed in. Open the link that etude studio printed."
NOT_ALLOWED = (
    "You are signed in as {role}, but this needs the role {needed}. Ask the owner for another link."
)
MONTH = 30 * 86400  # seconds that a browser stays signed in
MAX_BODY_BYTES = 2**20
MAX_NAME = 60  # characters
EXPORT_NAME = "rows.csv"
EXPORT_HEADER = (
    *("id", "location", "input", "output", "tags", "findings", "state"),
    "right answer",
    "feedback",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src "
        "'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""A page loads only the studio's own files."""
REPORT_HEADERS = {
    "content-security-policy": "frame-ancestors 'none'"
}  # a report contains its own policy
_FOLDER = Path(__file__).parent
_STATIC = {"report.css": "text/css", "studio.css": "text/css", "studio.js": "text/javascript"}
_SOURCES: dict[Source, str] = {
    "requests": "New requests",
    "picked": "Picked from the record",
    "dev": "Answers that counted as wrong",
    "right": "Answers that counted as right",
    "labels": "Labels that may be wrong",
    "sample": "Labels drawn at random",
    "made": "Rows that a model made",
    "expert": "Left to an expert",
}


class Action(NamedTuple):
    """One kind of feedback that a reviewer can give on an answer."""

    name: str  # the value of its button, or the id of the form that it opens
    key: str
    label: str
    text: str  # its meaning, displayed on the page of keys
    has_form: bool = False


ACTIONS = (
    Action("accept", "a", "Accept", "The answer is right, even if the row has another answer."),
    Action("correct", "c", "Correct", "You write the right answer.", True),
    Action("reject", "r", "Reject", "The answer is wrong. You can give a reason.", True),
    Action(
        "wrong_row", "w", "Row is wrong", "The row gets this answer, or the row is left out.", True
    ),
    Action("expert", "e", "Expert", "You are not sure. An expert judges the answer."),
    Action("skip", "s", "Skip", "You decide later. The answer comes again at the end."),
)
MADE_ACTIONS = (
    Action("accept", "k", "Keep", "The row stays in the file of made rows, as it was made."),
    Action(
        "correct",
        "c",
        "Correct",
        "You write the right output. The file of made rows gets it.",
        True,
    ),
    Action(
        "leave_out",
        "d",
        "Drop",
        "The row leaves the file of made rows. To undo this, go back and keep it.",
    ),
    ACTIONS[-1],
)
TURN_NAMES = {"system": "System message", "user": "Input", "assistant": "Earlier answer"}
Form = dict[str, str]


def build_studio_app(studio: Studio, owner: str, host: str = LOOPBACK[0]) -> Starlette:
    """Build the app of a studio that browsers open at `host`. `owner` is the owner's name until
    they choose one.
    """
    pages = Pages(studio, owner)
    show = pages.handle_page
    save = pages.handle_form
    routes = [
        Route("/enter", pages.sign_in),
        Route("/static/{name}", send_static),
        Route("/", show(pages.show_home)),
        Route("/review", show(pages.show_review, "reviewer")),
        Route("/review", save(pages.save_review), methods=["POST"]),
        Route("/chat", show(pages.show_chat, "reviewer")),
        Route("/chat", save(pages.answer_chat), methods=["POST"]),
        Route("/feedback", save(pages.save_feedback), methods=["POST"]),
        Route("/data", show(pages.show_data)),
        Route("/data", save(pages.change_rows), methods=["POST"]),
        Route(f"/{EXPORT_NAME}", show(pages.export_rows)),
        Route("/row", show(pages.show_row)),
        Route("/row", save(pages.correct_row), methods=["POST"]),
        Route("/row/out", save(pages.exclude_row), methods=["POST"]),
        Route("/undo", save(pages.undo_entry), methods=["POST"]),
        Route("/findings", show(pages.show_findings)),
        Route("/findings", save(pages.start_check, "owner"), methods=["POST"]),
        Route("/tests", show(pages.show_tests)),
        Route("/tests", save(pages.decide_proposal), methods=["POST"]),
        Route("/tests/examples", save(pages.write_approved, "owner"), methods=["POST"]),
        Route("/tests/report", show(pages.show_test_report)),
        Route("/runs", show(pages.show_runs)),
        Route("/report/{name}", show(pages.show_report)),
        Route("/keys", show(pages.show_keys)),
        Route("/leave", save(pages.sign_out, "reader"), methods=["POST"]),
        Route("/name", save(pages.set_name, "owner"), methods=["POST"]),
        Route("/apply", save(pages.apply_feedback, "owner"), methods=["POST"]),
    ]
    shell = Middleware(
        Shell,
        refuse=lambda reason: PlainTextResponse(reason, 421),
        hosts=(*LOOPBACK, host),
        headers=SECURITY_HEADERS,
    )
    return Starlette(routes=routes, middleware=[shell], max_body_size=MAX_BODY_BYTES)


def send_static(request: Request) -> Response:
    """Send a style sheet or the script."""
    name = request.path_params["name"]
    if name not in _STATIC:
        return PlainTextResponse("There is no such file.", 404)
    return Response(read_asset(name, _FOLDER / "static"), media_type=_STATIC[name])


@cache
def _load_templates() -> Environment:
    templates = create_environment(_FOLDER / "templates")
    templates.globals.update(
        count=format_count,
        command=format_command,
        format_method=format_method,
        read_headline=read_headline,
        split_excerpt=split_excerpt,
        act_words=ACT_WORDS,
        new_id=new_id,
        EXCLUDED=EXCLUDED,
        ACTIONS=ACTIONS,
        MADE_ACTIONS=MADE_ACTIONS,
        TURN_NAMES=TURN_NAMES,
        CLASSICAL=CLASSICAL,
    )
    return templates


def _summarize_run(run: Run) -> dict[str, Any]:
    """Build the line of a run in the list of runs. If the run cannot be read, its status is the
    error.
    """
    summary = {"name": run.name, "status": "", "recommended": "", "has_report": False}
    try:
        verdict = run.verdict
        has_report = (run.folder / "report.html").exists()
        recommended = (verdict.recommended or "none") if verdict else ""
        return summary | {
            "status": run.status,
            "recommended": recommended,
            "has_report": has_report,
        }
    except RunError as error:
        return summary | {"status": str(error)}


def _read_number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0


def _read_filter(request: Request) -> RowFilter:
    names = (field.name for field in fields(RowFilter))
    return RowFilter(**{name: request.query_params.get(name, "") for name in names})


class Pages:
    """The pages of one studio."""

    def __init__(self, studio: Studio, owner: str) -> None:
        self.studio = studio
        self.owner = owner
        self.keys = SignIn(studio.queue.secret, lambda: studio.people)

    def handle_page(
        self, page: Callable[[Request], Response], role: Role = "reader"
    ) -> Callable[[Request], Response]:
        """Return a handler that displays a page to people who are signed in with this role, or an
        error.
        """

        def respond(request: Request) -> Response:
            person = self.keys.find_person(self.keys.read_key(request))
            if person is None:
                return PlainTextResponse(SIGNED_OUT, 403)
            request.state.person = person
            try:
                if not person.has_role(role):
                    error = NOT_ALLOWED.format(role=person.role, needed=role)
                    return self._render("problem", request, 403, problem=error)
                return page(request)
            except EtudeError as error:
                return self._render("problem", request, 400, problem=str(error))

        return respond

    def handle_form(
        self, action: Callable[[Request, Form], Response], role: Role = "reviewer"
    ) -> Callable[[Request], Any]:
        """Return a handler for a form of the studio, sent by people who are signed in with this
        role.
        """

        async def respond(request: Request) -> Response:
            body = (await request.body()).decode(errors="replace")
            form = {
                name: "\n".join(values) if name == "ids" else values[-1]
                for name, values in parse_qs(body, keep_blank_values=True).items()
            }
            if not self.keys.is_own_form(request, form.get("token", "")):
                return PlainTextResponse(SIGNED_OUT, 403)
            # An action may answer or write files, so it runs in a thread and does not block the
            # event loop.
            handler = self.handle_page(lambda request: action(request, form), role)
            return await run_in_threadpool(handler, request)

        return respond

    def sign_in(self, request: Request) -> Response:
        """Sign a browser in with a link that the command line printed."""
        key = request.query_params.get("key", "")
        if self.keys.find_person(key) is None:
            return PlainTextResponse(SIGNED_OUT, 403)
        response = RedirectResponse("/", 303)
        secure = (
            request.url.scheme == "https"
        )  # as reported by a proxy; the studio itself has no TLS
        response.set_cookie(
            self.keys.cookie_name, key, MONTH, secure=secure, httponly=True, samesite="lax"
        )
        return response

    def sign_out(self, request: Request, form: Form) -> Response:
        """Sign this browser out."""
        response = PlainTextResponse(SIGNED_OUT)
        response.delete_cookie(self.keys.cookie_name)
        return response

    def show_keys(self, request: Request) -> Response:
        """The page of keys."""
        return self._render("keys", request)

    def show_home(
        self, request: Request, applied: Any = None, is_updated: bool = False
    ) -> Response:
        """The task, its verdict, and what to do next."""
        queue = self.studio.sync_queue()
        reviewer = self._get_name(request)
        counts = {source: queue.count(source, reviewer) for source in _SOURCES}
        return self._render(
            "home",
            request,
            applied=applied,
            is_updated=is_updated,
            counts=counts,
            sources=_SOURCES,
            labels=self.studio.read_label_review(),
            gathered=self.studio.gathered_feedback,
            entries={entry.id: entry for entry in self.studio.log.entries},
            agreement=measure_agreement(self.studio.log.entries),
        )

    def show_review(self, request: Request) -> Response:
        """The next answer to review, or with `back` an answer that was already reviewed."""
        source = self._choose_source(request, request.query_params.get("from", ""))
        reviewer = self._get_name(request)
        queue = self.studio.sync_queue()
        back = _read_number(request.query_params.get("back", ""))
        reviewed = queue.find_reviewed(reviewer, source, back) if back else None
        if reviewed is None:
            return self._render_item(request, queue.take_next(reviewer, source), source)
        item, entry_id = reviewed
        return self._render_item(request, item, source, back, self.studio.find_entry(entry_id))

    def save_review(self, request: Request, form: Form) -> Response:
        """Save feedback on an answer, and show the next answer."""
        queue = self.studio.queue
        reviewer = self._get_name(request)
        item = queue.find(form.get("item", ""))
        source = self._choose_source(request, form.get("from", ""))
        if item is None or item.answer is None:
            error = (
                "This answer is no longer in the queue, because the studio now uses another "
                "assistant."
            )
            return self._render("problem", request, 410, problem=error)
        reason = form.get("reason", "").strip()
        correction = form.get("correction", "").replace("\r\n", "\n")
        contents: dict[str, dict[str, object]] = {
            "accept": {"accepted": True},
            "correct": {"correction": correction, "reason": reason},
            "reject": {"thumb": "down", "reason": reason},
            "replace": {"correction": item.answer, "reason": reason},
            "leave_out": {"exclude": True, "reason": reason},
            "expert": {"flag": True, "reason": reason},
        }
        button = form.get("say", "")
        failures = list[str]()
        entry_id = form.get("entry", "")
        unseen = self.studio.list_unseen(item.input, form.get("seen", ""), reviewer)
        if button == "skip":
            queue.release(item.id, is_last=True)
        elif button not in contents or (
            button == "leave_out" and item.expected is None and item.source != "made"
        ):
            failures = ["the form contains no feedback"]
        elif not unseen or self.studio.find_entry(entry_id):
            earlier = form.get("earlier", "")
            failures = self.studio.save_review(
                item, reviewer, entry_id, earlier, **contents[button]
            )
            unseen = []
        if failures or (unseen and button != "skip"):
            return self._render_item(
                request, item, source, failures=failures, unseen=unseen, form=form
            )
        if "x-fragment" not in request.headers:
            return RedirectResponse(f"/review?{urlencode({'from': source})}", 303)
        return self._render_item(
            request, self.studio.sync_queue().take_next(reviewer, source), source
        )

    def show_chat(self, request: Request) -> Response:
        """A new conversation."""
        return self._render_chat(request, [], [], {})

    def answer_chat(self, request: Request, form: Form) -> Response:
        """Answer a question, and show the conversation."""
        question = form.get("question", "").replace("\r\n", "\n").strip()
        turns = conversation.parse_turns(form.get("turns", ""))
        if not question:
            return self._render_chat(request, turns, [], form)
        turns.append(Message("user", question))
        methods = [name for name in (form.get("first", ""), form.get("second", "")) if name]
        answers = conversation.answer_turns(self.studio, turns, methods or [self.studio.method])
        return self._render_chat(request, turns, answers, form)

    def save_feedback(self, request: Request, form: Form) -> Response:
        """Save feedback on an answer in a conversation."""
        entry = conversation.parse_feedback(form, self._get_name(request))
        if entry.correction and (failures := self.studio.check_correction(entry.correction)):
            hidden = {
                name: value for name, value in form.items() if name not in ("say", "correction")
            }
            values: Json = {"hidden": hidden, "correction": entry.correction, "failures": failures}
            return self._render("opinion", request, 422, "Chat", buttons={}, **values)
        self.studio.log.add(entry)
        return self._render("saved", request)

    def show_data(self, request: Request, num_changed: int | None = None) -> Response:
        """The filtered rows that may be displayed, and the number of changed rows."""
        page = _read_number(request.query_params.get("page", ""))
        row_filter = _read_filter(request)
        data = self.studio.sync_data()
        rows, total = data.search(row_filter, page)
        return self._render(
            "data",
            request,
            rows=rows,
            total=total,
            page=page,
            num_pages=-(-total // PAGE_ROWS),
            filter=asdict(row_filter),
            query=urlencode(asdict(row_filter)),
            choices={name: data.list_values(name) for name in FILTERS},
            num_changed=num_changed,
        )

    def change_rows(self, request: Request, form: Form) -> Response:
        """Leave out the checked rows or all rows that match the filter, or take that back."""
        studio = self.studio
        reviewer = self._get_name(request)
        rows, _ = studio.sync_data().search(_read_filter(request))
        if form.get("which") != "all":
            checked = form.get("ids", "").split("\n")
            rows = [row for row in rows if row.id in checked]
        if form.get("do") == "out":
            rows = [row for row in rows if row.state != "left out"]
            for row in rows:
                studio.exclude(row, reviewer, form.get("reason", ""))
        else:
            inputs = {row.turns for row in rows}
            entries = [
                entry
                for entry in drop_undone(studio.log.entries)
                if entry.exclude and entry.reviewer == reviewer and entry.input in inputs
            ]
            for entry in entries:
                studio.undo(entry.id, reviewer)
        return self.show_data(request, len(rows))

    def export_rows(self, request: Request) -> Response:
        """The rows that match the filter, with the feedback on them, as a table for a
        spreadsheet.
        """
        studio = self.studio
        output = io.StringIO()
        feedback: dict[tuple[Message, ...], list[str]] = {}
        for entry in drop_undone(studio.log.entries):
            comment = (
                f"{entry.reviewer}: {entry.summary}{f' ({entry.reason})' if entry.reason else ''}"
            )
            feedback.setdefault(entry.input, []).append(comment)
        lines = [EXPORT_HEADER]
        for row in studio.sync_data().search(_read_filter(request))[0]:
            answer = studio.find_right_answer(row)
            tags = "; ".join(f"{name}: {value}" for name, value in row.tags.items())
            about = (
                row.id,
                row.location,
                row.input,
                row.output,
                tags,
                "; ".join(row.kinds),
                row.state,
            )
            lines.append(
                (*about, answer.output if answer else "", "; ".join(feedback.get(row.turns, ())))
            )
        # A spreadsheet would compute a text that begins like a formula.
        csv.writer(output).writerows(
            [f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell for cell in line]
            for line in lines
        )
        headers = {"content-disposition": f'attachment; filename="{EXPORT_NAME}"'}
        return Response(f"\ufeff{output.getvalue()}", media_type="text/csv", headers=headers)

    def show_row(self, request: Request) -> Response:
        """One row, which can be corrected."""
        return self._render_row(request, self.studio.data.find(request.query_params.get("id", "")))

    def correct_row(self, request: Request, form: Form) -> Response:
        """Save a correction of a row."""
        correction = form.get("correction", "")
        reason = form.get("reason", "")

        def correct(row: DataRow, reviewer: str) -> list[str]:
            return self.studio.correct(row, reviewer, correction, reason)

        return self._change_row(request, form, correct, correction)

    def exclude_row(self, request: Request, form: Form) -> Response:
        """Save that a row shall be left out."""
        reason = form.get("reason", "")
        return self._change_row(
            request, form, lambda row, name: self.studio.exclude(row, name, reason)
        )

    def undo_entry(self, request: Request, form: Form) -> Response:
        """Take back feedback on a row."""
        entry_id = form.get("entry", "")
        return self._change_row(request, form, lambda row, name: self.studio.undo(entry_id, name))

    def _change_row(
        self,
        request: Request,
        form: Form,
        change: Callable[[DataRow, str], list[str] | None],
        correction: str = "",
    ) -> Response:
        row = self.studio.data.find(form.get("id", ""))
        reviewer = self._get_name(request)
        unseen = self.studio.list_unseen(row.turns, form.get("seen", ""), reviewer) if row else []
        failures = change(row, reviewer) if row and not unseen else []
        is_saved = not failures and not unseen
        draft = "" if is_saved else correction
        return self._render_row(request, row, draft, failures or [], unseen, is_saved)

    def show_findings(self, request: Request) -> Response:
        """The findings of the check with excerpts."""
        findings = self.studio.data.findings
        checking = self.studio.checking
        return self._render("findings", request, findings=findings, checking=checking)

    def start_check(self, request: Request, form: Form) -> Response:
        """Start a check."""
        self.studio.checking.start()
        return RedirectResponse("/findings", 303)

    def show_tests(self, request: Request, failures: Sequence[str] = (), **values: Any) -> Response:
        """The failures of the latest `etude test`, and the rows proposed for them."""
        run = self.studio.run
        method = self.studio.method
        return self._render(
            "tests",
            request,
            result=load_suite_result(run, method),
            proposals=read_proposals(self.studio.task),
            has_report=(suite_folder(run, method) / "report.html").exists(),
            failures=failures,
            **{"form": {}, "written": None, **values},
        )

    def decide_proposal(self, request: Request, form: Form) -> Response:
        """Save the decision on a proposed row."""
        question = form.get("input", "")
        output = form.get("output", "")
        approved = form.get("do") == "approve"
        reviewer = f"{self._get_name(request)}, {utc_now()}"
        failures = save_decision(self.studio.task, question, output, approved, reviewer)
        return self.show_tests(request, failures, form=form if failures else {})

    def write_approved(self, request: Request, form: Form) -> Response:
        """Write a new file of examples with the approved rows."""
        file = write_approved_examples(self.studio.task)
        written = (file.name, format_source_line(self.studio.task, file)) if file else None
        return self.show_tests(request, written=written)

    def show_test_report(self, request: Request) -> Response:
        """The report of the latest test."""
        return self._send_report(request, suite_folder(self.studio.run, self.studio.method))

    def show_runs(self, request: Request) -> Response:
        """All runs with their reports."""
        runs = [_summarize_run(run) for run in find_task_runs(self.studio.task.file)]
        return self._render("runs", request, runs=runs)

    def show_report(self, request: Request) -> Response:
        """A run's report."""
        run = find_run(self.studio.task.file, request.path_params["name"])
        return self._send_report(request, run.folder)

    def _send_report(self, request: Request, folder: Path) -> Response:
        file = folder / "report.html"
        if not file.exists():
            return self._render("problem", request, 404, problem="There is no report yet.")
        return HTMLResponse(file.read_text(encoding="utf-8"), headers=REPORT_HEADERS)

    def set_name(self, request: Request, form: Form) -> Response:
        """Set the owner's name, which is saved with their feedback."""
        response = RedirectResponse("/", 303)
        cookie = urlencode({"n": " ".join(form.get("name", "").split())[:MAX_NAME]})
        response.set_cookie(NAME_COOKIE, cookie, httponly=True, samesite="lax", max_age=MONTH)
        return response

    def apply_feedback(self, request: Request, form: Form) -> Response:
        """Write a new file of examples."""
        is_updated = "update" in form
        applied = apply_feedback(self.studio.task_file, is_updated)
        if is_updated:
            self.studio.reload()
        return self.show_home(request, applied, is_updated)

    def _render_item(
        self,
        request: Request,
        item: ReviewItem | None,
        source: Source,
        back: int = 0,
        said: Feedback | None = None,
        failures: Sequence[str] = (),
        unseen: Sequence[Feedback] = (),
        form: Form | None = None,
    ) -> Response:
        """Render an item; `said` is the reviewer's earlier entry on it, and `back` its distance
        from the next item.
        """
        labels = self.studio.read_label_review() if source in ("labels", "sample") else None
        if (
            labels
            and labels.is_enough
            and source == "labels"
            and not back
            and not failures
            and not unseen
        ):
            item = None
        form = form or {}
        history = self.studio.list_history(item.input) if item else []
        said = said or self.studio.find_entry(form.get("earlier", ""))
        return self._render(
            "item" if "x-fragment" in request.headers else "review",
            request,
            422 if failures else 409 if unseen else 200,
            item=item,
            source=source,
            title=_SOURCES[source],
            labels=labels,
            counts=self.studio.sync_queue().count(source, self._get_name(request)),
            back=back,
            said=said,
            flags=[entry for entry, counts in history if counts and entry.flag]
            if source == "expert"
            else [],
            seen=history[0][0].id if history else "",
            failures=failures,
            unseen=unseen,
            form=form,
            entry_id=form.get("entry") or new_id(),
        )

    def _render_row(
        self,
        request: Request,
        row: DataRow | None,
        correction: str = "",
        failures: Sequence[str] = (),
        unseen: Sequence[Feedback] = (),
        is_saved: bool = False,
    ) -> Response:
        row = self.studio.sync_data().find(row.id) if row else None
        if row is None:
            error = "This row does not exist, or it is a sealed test row."
            return self._render("problem", request, 404, problem=error)
        history = self.studio.list_history(row.turns)
        return self._render(
            "row",
            request,
            422 if failures else 409 if unseen else 200,
            row=row,
            correction=correction,
            failures=failures,
            is_saved=is_saved,
            seen=history[0][0].id if history else "",
            unseen=unseen,
            answer=self.studio.find_right_answer(row),
            history=history,
        )

    def _render_chat(
        self,
        request: Request,
        turns: Sequence[Message],
        answers: Sequence[conversation.ChatAnswer],
        form: Form,
    ) -> Response:
        question = conversation.select_turns(self.studio.assistant, turns)
        continued = [*turns, *(Message("assistant", answer.text) for answer in answers[:1])]
        return self._render(
            "talk",
            request,
            heading="Chat",
            turns=turns,
            answers=answers,
            question=conversation.format_turns(question),
            continued=conversation.format_turns(continued),
            first=form.get("first") or self.studio.method,
            second=form.get("second", ""),
        )

    def _choose_source(self, request: Request, name: str) -> Source:
        queue = self.studio.queue
        is_expert = request.state.person.has_role("expert")
        sources = [source for source in _SOURCES if is_expert or source != "expert"]
        existing = [source for source in sources if queue.has_items(source)]
        return next(
            (source for source in existing if source == name),
            existing[0] if existing else "requests",
        )

    def _get_name(self, request: Request) -> str:
        cookie_name = parse_qs(request.cookies.get(NAME_COOKIE, "")).get("n", [""])[0].strip()
        return request.state.person.name or cookie_name or self.owner

    def _render(
        self, name: str, request: Request, status: int = 200, heading: str = "", **values: Any
    ) -> HTMLResponse:
        """Render a page; with a heading, a fragment, which the script requests alone."""
        is_whole = heading and "x-fragment" not in request.headers
        template = _load_templates().get_template(f"{'around' if is_whole else name}.html.j2")
        html = template.render(
            fragment=name,
            heading=heading,
            studio=self.studio,
            token=self.keys.form_token(self.keys.read_key(request)),
            person=request.state.person,
            reviewer=self._get_name(request),
            path=request.url.path,
            **values,
        )
        return HTMLResponse(html, status)
