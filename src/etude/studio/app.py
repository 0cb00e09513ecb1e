"""The pages and what they do: one function a page, one a form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from etude.base.pages import asset, environment
from etude.base.wording import command, count
from etude.checks.shown.html_page import pieces
from etude.errors import EtudeError, RunError
from etude.feedback import new_id
from etude.feedback.apply import EXCLUDED, apply
from etude.feedback.entry import now
from etude.methods import METHODS
from etude.repair.fix import source_line
from etude.runs import FOLDER, Run, find_run, find_runs
from etude.studio.blind import Blind
from etude.studio.chat import Said, answers, as_text, asked_turns, opinion, turns_of
from etude.studio.data import MOST_TAGS, PAGE
from etude.studio.progress import Progress, options_of, progress
from etude.studio.queue import Item, Source
from etude.studio.security import Guard, Keys, Role, same
from etude.studio.studio import Studio
from etude.studio.tested import folder_of, tested
from etude.suites.acts import IN_WORDS
from etude.suites.teach import decide, read_proposals, write_approved
from etude.types import Message

LOOPBACK = ("127.0.0.1", "localhost")
NAME = "etude-name"
"""The cookie with the name of the person."""
SIGNED_OUT = "This browser is not signed in. Open the link that etude studio has printed."
NOT_ALLOWED = "You are signed in as {role}, and this needs the role {needed}. Ask the owner for another link."
MONTH = 30 * 86400
"""Seconds that a browser stays signed in."""
_HERE = Path(__file__).parent
_STATIC: dict[str, tuple[Callable[[], str], str]] = {
    "report.css": (lambda: asset("report.css"), "text/css"),
    "studio.css": (lambda: (_HERE / "static" / "studio.css").read_text(encoding="utf-8"), "text/css"),
    "studio.js": (lambda: (_HERE / "static" / "studio.js").read_text(encoding="utf-8"), "text/javascript"),
}
_SOURCES: dict[Source, str] = {"requests": "New requests", "dev": "Rows to check"}
Form = dict[str, str]


@dataclass(frozen=True)
class RunLine:
    """A run in the list of runs."""

    name: str
    status: str
    recommended: str
    has_report: bool

    @classmethod
    def of(cls, run: Run) -> RunLine:
        """What the list shows of a run, also of one that cannot be read."""
        try:
            verdict = run.verdict
            recommended = (verdict.recommended or "none") if verdict else ""
            return cls(run.name, run.status, recommended, (run.folder / "report.html").exists())
        except RunError as error:
            return cls(run.name, str(error), "", False)


def make_app(studio: Studio, who: str, host: str = LOOPBACK[0]) -> Starlette:
    """The application around a studio, opened at `host`; `who` is the owner's name until they give one."""
    pages = Pages(studio, who)
    routes = [
        Route("/enter", pages.enter),
        Route("/static/{name}", static),
        Route("/", pages.guarded(pages.home)),
        Route("/review", pages.guarded(pages.review, "reviewer")),
        Route("/review", pages.posted(pages.reviewed), methods=["POST"]),
        Route("/chat", pages.guarded(pages.chat, "reviewer")),
        Route("/chat", pages.posted(pages.asked), methods=["POST"]),
        Route("/opinion", pages.posted(pages.opinion), methods=["POST"]),
        Route("/data", pages.guarded(pages.data)),
        Route("/row", pages.guarded(pages.row)),
        Route("/row", pages.posted(pages.corrected), methods=["POST"]),
        Route("/findings", pages.guarded(pages.findings)),
        Route("/row/out", pages.posted(pages.left_out), methods=["POST"]),
        Route("/undo", pages.posted(pages.taken_back), methods=["POST"]),
        Route("/findings", pages.posted(pages.checked, "owner"), methods=["POST"]),
        Route("/fixes", pages.posted(pages.fixed, "owner"), methods=["POST"]),
        Route("/tests", pages.guarded(pages.tests)),
        Route("/tests", pages.posted(pages.decided), methods=["POST"]),
        Route("/taught", pages.posted(pages.taught, "owner"), methods=["POST"]),
        Route("/tests/report", pages.guarded(pages.test_report)),
        Route("/blind", pages.guarded(pages.blind, "reviewer")),
        Route("/blind", pages.posted(pages.preferred), methods=["POST"]),
        Route("/compare", pages.guarded(pages.compare)),
        Route("/compare", pages.posted(pages.started, "owner"), methods=["POST"]),
        Route("/report/{name}", pages.guarded(pages.report)),
        Route("/name", pages.posted(pages.rename, "owner"), methods=["POST"]),
        Route("/apply", pages.posted(pages.apply, "owner"), methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, hosts=(*LOOPBACK, host))])


def static(request: Request) -> Response:
    """Style and script."""
    found = _STATIC.get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("There is no such file.", 404)
    read, kind = found
    return Response(read(), media_type=kind)


def named(method: str) -> str:
    """A method's label with its name; of a method of the user's own the name alone."""
    label = next((each.label for each in METHODS if each.name == method), "")
    return f"{label} ({method})" if label else method


@cache
def _templates() -> Environment:
    made = environment(_HERE / "templates")
    made.globals.update(count=count, command=command, named=named, act_words=IN_WORDS, EXCLUDED=EXCLUDED)
    return made


class Pages:
    """The pages of one studio."""

    def __init__(self, studio: Studio, who: str) -> None:
        self.studio, self.who = studio, who
        self.keys = Keys(studio.queue.secret, lambda: studio.people)

    def guarded(
        self, page: Callable[[Request], Response], role: Role = "reader"
    ) -> Callable[[Request], Response]:
        """The page for a person who is signed in with this role."""

        def shown(request: Request) -> Response:
            person = self.keys.person(request)
            if person is None:
                return PlainTextResponse(SIGNED_OUT, 403)
            request.state.person = person
            try:
                if not person.may(role):
                    problem = NOT_ALLOWED.format(role=person.role, needed=role)
                    return self._page("problem", request, 403, problem=problem)
                return page(request)
            except EtudeError as error:
                return self._page("problem", request, 400, problem=str(error))

        return shown

    def posted(
        self, act: Callable[[Request, Form], Response], role: Role = "reviewer"
    ) -> Callable[[Request], Any]:
        """What a form does, for a person who is signed in with this role, if the form is one of the studio's own."""

        async def taken(request: Request) -> Response:
            body = (await request.body()).decode(errors="replace")
            form = {name: values[-1] for name, values in parse_qs(body, keep_blank_values=True).items()}
            if not same(form.get("token", ""), self.keys.form(self.keys.given(request))):
                return PlainTextResponse(SIGNED_OUT, 403)
            return await run_in_threadpool(self.guarded(lambda request: act(request, form), role), request)

        return taken

    def enter(self, request: Request) -> Response:
        """Signs a browser in by a link that the command line has printed."""
        key = request.query_params.get("key", "")
        if self.keys.holder(key) is None:
            return PlainTextResponse(SIGNED_OUT, 403)
        response = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(self.keys.cookie, key, MONTH, secure=secure, httponly=True, samesite="lax")
        return response

    def home(self, request: Request, **more: Any) -> Response:
        """The task, its verdict, and what wants a person next."""
        counts = {source: self.studio.queue.counts(source) for source in _SOURCES}
        given = {"applied": None, "updated": False, "gathered": self.studio.gathered, **more}
        return self._page("home", request, counts=counts, sources=_SOURCES, **given)

    def review(self, request: Request) -> Response:
        """The next answer to review, or with `previous` the one reviewed last."""
        source, who = self._source(request.query_params.get("from", "")), self._name(request)
        previous = "previous" in request.query_params
        item = self.studio.queue.last(who, source) if previous else None
        item = item or self.studio.queue.take(who, source)
        return self._item(request, item, source, again=previous)

    def reviewed(self, request: Request, form: Form) -> Response:
        """Keeps what was said of an answer, and shows the next."""
        item, who = self.studio.queue.item(form.get("item", "")), self._name(request)
        source = self._source(form.get("from", ""))
        if item is None or item.answer is None:
            gone = "This answer is not in the queue any more: another assistant answers now."
            return self._page("problem", request, 410, problem=gone)
        said = form.get("say", "")
        if said == "skip":
            self.studio.queue.put_back(item.id)
        elif failures := self._say(item, who, said, form):
            return self._item(request, item, source, failures=failures, form=form, status=422)
        if "x-part" not in request.headers:
            return RedirectResponse(f"/review?{urlencode({'from': source})}", 303)
        return self._item(request, self.studio.queue.take(who, source), source)

    def chat(self, request: Request) -> Response:
        """A new conversation."""
        return self._chat(request)

    def asked(self, request: Request, form: Form) -> Response:
        """Answers a question, and shows the conversation with it."""
        question = form.get("question", "").replace("\r\n", "\n").strip()
        turns = [*turns_of(form.get("turns", "")), *([Message("user", question)] if question else [])]
        methods = [name for name in (form.get("first", ""), form.get("second", "")) if name]
        said = answers(self.studio, turns, methods or [self.studio.method]) if question else []
        return self._chat(request, turns, said, form)

    def opinion(self, request: Request, form: Form) -> Response:
        """Keeps what was said of an answer in a conversation."""
        self.studio.log.add(opinion(form, self._name(request)))
        return HTMLResponse('<p class="note" role="status">Kept. Thank you.</p>')

    def data(self, request: Request) -> Response:
        """The rows that may be shown, by words, tag and finding."""
        asked: dict[str, Any] = {name: request.query_params.get(name, "") for name in ("q", "tag", "kind")}
        page = request.query_params.get("page", "0")
        number = int(page) if page.isdecimal() and len(page) < 9 else 0
        data = self.studio.data
        rows, total = data.search(asked["q"].strip(), asked["tag"], asked["kind"], number)
        return self._page(
            "data",
            request,
            rows=rows,
            total=total,
            page=number,
            pages=-(-total // PAGE),
            query=urlencode(asked),
            tags=sorted(data.tags.most_common(MOST_TAGS)),
            kinds=sorted({finding.kind for finding, *_ in data.findings}),
            **asked,
        )

    def row(self, request: Request) -> Response:
        """One row, to be corrected."""
        return self._row(request, request.query_params.get("id", ""))

    def corrected(self, request: Request, form: Form) -> Response:
        """Keeps a correction of a row."""
        row, given = self.studio.data.row(form.get("id", "")), form.get("correction", "")
        if row is None:
            return self._row(request, "")
        failures = self.studio.correct(row, self._name(request), given, form.get("reason", ""))
        return self._row(request, row.id, given, failures, saved=not failures)

    def left_out(self, request: Request, form: Form) -> Response:
        """Keeps that a row is to be left out."""
        row = self.studio.data.row(form.get("id", ""))
        if row is None:
            return self._row(request, "")
        self.studio.leave_out(row, self._name(request), form.get("reason", ""))
        return self._row(request, row.id, saved=True)

    def taken_back(self, request: Request, form: Form) -> Response:
        """Takes back what was said of a row."""
        row = self.studio.data.row(form.get("id", ""))
        if row is None:
            return self._row(request, "")
        self.studio.take_back(form.get("entry", ""), self._name(request))
        return self._row(request, row.id, saved=True)

    def findings(self, request: Request, **more: Any) -> Response:
        """What the check found, with passages of the rows, and what can be put right at once."""
        checking = self.studio.checking
        given = {"wrote": None, **more}
        found = self.studio.data.findings
        return self._page("findings", request, findings=found, checking=checking, pieces=pieces, **given)

    def checked(self, request: Request, form: Form) -> Response:
        """Starts a check."""
        self.studio.checking.start()
        return RedirectResponse("/findings", 303)

    def fixed(self, request: Request, form: Form) -> Response:
        """Accepts proposed changes or takes them back, and shows what the fixed file holds then."""
        proposals, on = self.studio.checking.proposals, form.get("do") != "back"
        number = proposals.take(form.get("which", ""), on, self._name(request))
        assert proposals.made is not None
        line = source_line(self.studio.task, proposals.made.files.fixed)
        return self.findings(request, wrote=(proposals.made.files.fixed.name, number, line))

    def tests(self, request: Request, **more: Any) -> Response:
        """What the latest test found wrong, and the rows that are proposed for it."""
        studio = self.studio
        found, proposed = tested(studio.run, studio.method), read_proposals(studio.task)
        given = {"failures": [], "said": {}, "wrote": None, **more}
        has_report = (folder_of(studio.run, studio.method) / "report.html").exists()
        return self._page("tests", request, tested=found, proposed=proposed, has_report=has_report, **given)

    def decided(self, request: Request, form: Form) -> Response:
        """Keeps what was said of a proposed row."""
        asked, output, approved = form.get("input", ""), form.get("output", ""), form.get("do") == "approve"
        failures = decide(self.studio.task, asked, output, approved, f"{self._name(request)}, {now()}")
        return self.tests(request, failures=failures, said=form if failures else {})

    def taught(self, request: Request, form: Form) -> Response:
        """Writes the examples with the approved rows."""
        file = write_approved(self.studio.task)
        line = source_line(self.studio.task, file) if file else ""
        return self.tests(request, wrote=(file.name, line) if file else None)

    def test_report(self, request: Request) -> Response:
        """The page of the latest test, with a policy of its own."""
        text = (folder_of(self.studio.run, self.studio.method) / "report.html").read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"content-security-policy": "frame-ancestors 'none'"})

    def blind(self, request: Request) -> Response:
        """The next dev row with two methods' answers, which are not named."""
        return self._blind(request, request.query_params)

    def preferred(self, request: Request, form: Form) -> Response:
        """Keeps which answer is better, and shows the next row."""
        blind, number, said = self._blind_of(form), form.get("row", ""), form.get("say", "")
        rows = blind.rows[int(number) :][:1] if blind and number.isdecimal() else []
        shown = [row for row in rows if row.key == form.get("key")]  # the runs may have changed since
        if blind and shown and said in ("left", "right", "both", "neither"):
            blind.keep(shown[0], self._name(request), form.get("id") or new_id(), said)
        return self._blind(request, form)

    def compare(self, request: Request) -> Response:
        """The run under way, step by step, and all runs."""
        self.studio.refresh()
        runs = find_runs(self.studio.task.folder / FOLDER)
        latest = runs[0] if runs else None
        return self._part(
            "ladder",
            request,
            "Compare",
            "refresh",
            "Every method answers the same sealed test. A comparison that was stopped goes on where it was.",
            latest=latest,
            busy=latest is not None and latest.at_work,
            found=progress(latest) if latest else Progress(),
            runs=[RunLine.of(run) for run in runs],
            comparing=self.studio.comparing,
        )

    def started(self, request: Request, form: Form) -> Response:
        """Starts or stops a comparison, goes on with the latest run, or says yes to what a comparison has asked."""
        comparing, do = self.studio.comparing, form.get("do")
        if do == "stop":
            comparing.stop()
        elif do == "yes":
            comparing.agree()
        else:
            runs = find_runs(self.studio.task.folder / FOLDER)
            comparing.start(options_of(runs[0]) if do == "go on" and runs else ())
        return RedirectResponse("/compare", 303)

    def report(self, request: Request) -> Response:
        """A run's report, a page with a policy of its own."""
        run = find_run(self.studio.task.folder / FOLDER, request.path_params["name"])
        text = (run.folder / "report.html").read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"content-security-policy": "frame-ancestors 'none'"})

    def rename(self, request: Request, form: Form) -> Response:
        """Sets the name under which a person reviews."""
        response = RedirectResponse("/", 303)
        name = " ".join(form.get("name", "").split())[:60]
        response.set_cookie(NAME, urlencode({"n": name}), httponly=True, samesite="lax", max_age=MONTH)
        return response

    def apply(self, request: Request, form: Form) -> Response:
        """Writes the new file of examples."""
        done = apply(self.studio.task_file, update="update" in form)
        if "update" in form:
            self.studio.reload()
        return self.home(request, applied=done, updated="update" in form)

    def _say(self, item: Item, who: str, said: str, form: Form) -> list[str]:
        reason = form.get("reason", "").strip()
        parts: dict[str, dict[str, object]] = {
            "accept": {"accepted": True},
            "correct": {"correction": form.get("correction", "").replace("\r\n", "\n"), "reason": reason},
            "reject": {"thumb": "down", "reason": reason},
            "expert": {"flag": True, "reason": reason},
        }
        if said not in parts:
            return ["nothing was said"]
        return self.studio.say(item, who, form.get("entry", ""), **parts[said])

    def _item(
        self,
        request: Request,
        item: Item | None,
        source: Source,
        again: bool = False,
        failures: list[str] | None = None,
        form: Form | None = None,
        status: int = 200,
    ) -> Response:
        part = "x-part" in request.headers
        return self._page(
            "item" if part else "review",
            request,
            status,
            item=item,
            source=source,
            title=_SOURCES[source],
            counts=self.studio.queue.counts(source),
            again=again and item is not None,
            failures=failures or [],
            form=form or {},
            entry=form["entry"] if form else new_id(),
        )

    def _row(
        self,
        request: Request,
        name: str,
        given: str = "",
        failures: Sequence[str] = (),
        saved: bool = False,
    ) -> Response:
        row = self.studio.data.row(name)
        if row is None:
            return self._page(
                "problem", request, 404, problem="There is no such row, or it is a sealed test row."
            )
        status = 422 if failures else 200
        return self._page(
            "row",
            request,
            status,
            row=row,
            given=given or row.output,
            failures=failures,
            saved=saved,
            state=self.studio.state(row),
            history=self.studio.history(row),
        )

    def _blind_of(self, given: Mapping[str, str]) -> Blind | None:
        """The two methods that are named, or else the recommended one and another; None if there are no two."""
        methods = self.studio.run.methods
        first = given.get("first") if given.get("first") in methods else self.studio.method
        others = [name for name in reversed(methods) if name != first]
        second = given.get("second") if given.get("second") in others else next(iter(others), None)
        return Blind(self.studio, str(first), second) if second else None

    def _blind(self, request: Request, given: Mapping[str, str]) -> Response:
        blind, who = self._blind_of(given), self._name(request)
        found = blind.next(who) if blind and "result" not in given else None
        number, row = found or (0, None)
        first, second = blind.methods if blind else ("", "")
        judged = len([entry for entry in blind.choices if entry.who == who]) if blind else 0
        shown: dict[str, Any] = {"first": first, "second": second, "new_id": new_id}
        return self._part(
            "pair", request, "Which is better?", blind=blind, row=row, number=number, place=judged, **shown
        )

    def _chat(
        self,
        request: Request,
        turns: Sequence[Message] = (),
        said: Sequence[Said] = (),
        form: Form | None = None,
    ) -> Response:
        answered = [Message("assistant", each.text) for each in said[:1]]
        return self._part(
            "talk",
            request,
            "Chat",
            turns=turns,
            said=said,
            asked=as_text(asked_turns(self.studio.assistant, turns)),
            kept=as_text([*turns, *answered]),
            first=(form or {}).get("first") or self.studio.method,
            second=(form or {}).get("second", ""),
            new_id=new_id,
        )

    def _source(self, name: str) -> Source:
        known = [source for source in _SOURCES if self.studio.queue.counts(source).total]
        return next((source for source in known if source == name), known[0] if known else "requests")

    def _name(self, request: Request) -> str:
        chosen = parse_qs(request.cookies.get(NAME, "")).get("n", [self.who])[0].strip() or self.who
        return request.state.person.name or chosen

    def _part(
        self, part: str, request: Request, heading: str, kind: str = "part", lead: str = "", **values: Any
    ) -> Response:
        """A part of a page alone, if the script asks for it, or with the page around it."""
        if "x-part" in request.headers:
            return self._page(part, request, **values)
        return self._page("around", request, part=part, heading=heading, kind=kind, lead=lead, **values)

    def _page(self, name: str, request: Request, status: int = 200, **values: Any) -> HTMLResponse:
        made = (
            _templates()
            .get_template(f"{name}.html.j2")
            .render(
                studio=self.studio,
                token=self.keys.form(self.keys.given(request)),
                person=request.state.person,
                who=self._name(request),
                path=request.url.path,
                **values,
            )
        )
        return HTMLResponse(made, status)
