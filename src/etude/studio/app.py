"""The pages and what they do: one function a page, one a form."""

from __future__ import annotations

import hmac
from collections.abc import Callable
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
from etude.errors import EtudeError
from etude.feedback import new_id
from etude.feedback.apply import apply
from etude.studio.queue import Item, Source
from etude.studio.security import Guard, Keys
from etude.studio.studio import Studio

HOSTS = ("127.0.0.1", "localhost")
NAME = "etude-name"
"""The cookie with the name of the person."""
MONTH = 30 * 86400
"""Seconds that a browser stays signed in."""
_HERE = Path(__file__).parent
_STATIC = {
    "report.css": (lambda: asset("report.css"), "text/css"),
    "studio.css": (lambda: (_HERE / "static" / "studio.css").read_text(encoding="utf-8"), "text/css"),
    "studio.js": (lambda: (_HERE / "static" / "studio.js").read_text(encoding="utf-8"), "text/javascript"),
}
_SOURCES: dict[Source, str] = {"requests": "New requests", "dev": "Rows to check"}
Form = dict[str, str]


def make_app(studio: Studio, who: str) -> Starlette:
    """The application around a studio; `who` is the name that a person has until they give another."""
    pages = Pages(studio, who)
    routes = [
        Route("/enter", pages.enter),
        Route("/static/{name}", static),
        Route("/", pages.guarded(pages.home)),
        Route("/review", pages.guarded(pages.review)),
        Route("/review", pages.posted(pages.reviewed), methods=["POST"]),
        Route("/name", pages.posted(pages.rename), methods=["POST"]),
        Route("/apply", pages.posted(pages.apply), methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, hosts=HOSTS)])


def static(request: Request) -> Response:
    """Style and script."""
    found = _STATIC.get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("There is no such file.", 404)
    read, kind = found
    return Response(read(), media_type=kind)


@cache
def _templates() -> Environment:
    made = environment(_HERE / "templates")
    made.globals.update(count=count, command=command)
    return made


class Pages:
    """The pages of one studio."""

    def __init__(self, studio: Studio, who: str) -> None:
        self.studio, self.who = studio, who
        self.keys = Keys(studio.queue.secret)

    def guarded(self, page: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """The page for a person who is signed in."""

        def shown(request: Request) -> Response:
            if not self.keys.signed_in(request):
                return self._page("signed_out", request, 403)
            try:
                return page(request)
            except EtudeError as error:
                return self._page("problem", request, 400, problem=str(error))

        return shown

    def posted(self, act: Callable[[Request, Form], Response]) -> Callable[[Request], Any]:
        """What a form does, for a person who is signed in, if the form is one of the studio's own."""

        async def taken(request: Request) -> Response:
            body = (await request.body()).decode(errors="replace")
            form = {name: values[-1] for name, values in parse_qs(body, keep_blank_values=True).items()}
            if not self.keys.signed_in(request) or not hmac.compare_digest(
                form.get("token", ""), self.keys.form
            ):
                return self._page("signed_out", request, 403)
            return await run_in_threadpool(self.guarded(lambda request: act(request, form)), request)

        return taken

    def enter(self, request: Request) -> Response:
        """Signs a browser in by the link that the command line prints."""
        if not hmac.compare_digest(request.query_params.get("key", ""), self.keys.session):
            return self._page("signed_out", request, 403)
        response = RedirectResponse("/", 303)
        response.set_cookie(self.keys.cookie, self.keys.session, httponly=True, samesite="lax", max_age=MONTH)
        return response

    def home(self, request: Request) -> Response:
        """The task, its verdict, and what wants a person next."""
        return self._home(request)

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
            return self._item(request, self.studio.queue.take(who, source), source)
        said = form.get("say", "")
        if said == "skip":
            self.studio.queue.put_back(item.id)
        elif failures := self._say(item, who, said, form):
            return self._item(request, item, source, failures=failures, form=form, status=422)
        if "x-part" not in request.headers:
            return RedirectResponse(f"/review?{urlencode({'from': source})}", 303)
        return self._item(request, self.studio.queue.take(who, source), source)

    def rename(self, request: Request, form: Form) -> Response:
        """Sets the name under which a person reviews."""
        response = RedirectResponse("/", 303)
        name = " ".join(form.get("name", "").split())[:60]
        response.set_cookie(NAME, urlencode({"n": name}), httponly=True, samesite="lax", max_age=MONTH)
        return response

    def apply(self, request: Request, form: Form) -> Response:
        """Writes the new file of examples."""
        done = apply(self.studio.task_file, update="update" in form)
        return self._home(request, applied=done, updated="update" in form)

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

    def _home(self, request: Request, **more: Any) -> Response:
        counts = {source: self.studio.queue.counts(source) for source in _SOURCES}
        given = {"applied": None, "updated": False, **more}
        return self._page(
            "home", request, counts=counts, sources=_SOURCES, gathered=self.studio.gathered, **given
        )

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

    def _source(self, name: str) -> Source:
        known = [source for source in _SOURCES if self.studio.queue.counts(source).total]
        return next((source for source in known if source == name), known[0] if known else "requests")

    def _name(self, request: Request) -> str:
        return parse_qs(request.cookies.get(NAME, "")).get("n", [self.who])[0]

    def _page(self, name: str, request: Request, status: int = 200, **values: Any) -> HTMLResponse:
        made = (
            _templates()
            .get_template(f"{name}.html.j2")
            .render(
                studio=self.studio,
                token=self.keys.form,
                who=self._name(request),
                path=request.url.path,
                **values,
            )
        )
        return HTMLResponse(made, status)
