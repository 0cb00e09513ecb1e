"""What `etude index` fetches: web pages and the rows of a query, kept beside the task so that all later steps are
offline. Pages that their site's robots.txt does not allow are not fetched."""

from __future__ import annotations

import gzip
import hashlib
import html
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from shutil import copyfile
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import httpx2

from etude import __version__
from etude.base.files import folder_aside, read_json, write_json, write_lines
from etude.errors import InputError, Issue, MissingExtraError, quote_value
from etude.index.documents import ADDRESSES, main_text
from etude.task import Remote

AGENT = f"etude/{__version__}"
PAUSE = 0.5
"""Seconds between two pages of one site, unless its robots.txt asks for more."""
PATIENCE = 30.0
"""Seconds for a page; also the longest pause that a robots.txt gets."""
MOST_BYTES = 20_000_000
"""Bytes of a page, at most."""
KINDS = {
    "text/html": ".md",
    "application/xhtml+xml": ".md",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
}
"""Type of a page -> suffix of the file that is kept."""


class _PageError(Exception):
    """Why a page is not fetched."""


def fetch(
    remote: Remote, on_page: Callable[[int, int], None] = lambda done, of: None, pause: float = PAUSE
) -> list[str]:
    """Fetches what the task names into `remote.kept`, whole or not at all; returns what could not be fetched.

    A page that cannot be fetched now stays as it was fetched before. `on_page` gets how many are done, of how many.
    Raises InputError when nothing can be fetched.
    """
    if remote.sql is not None:
        with folder_aside(remote.kept) as aside:
            write_lines(aside / "records.jsonl", _rows(remote))
        return []
    if not find_spec("resiliparse"):
        raise MissingExtraError("Reading web pages", "documents")
    with httpx2.Client(headers={"User-Agent": AGENT}, timeout=PATIENCE) as client:
        return _pages(remote, _Web(client, pause), on_page)


def _rows(remote: Remote) -> Iterator[dict[str, object]]:
    """The rows of the query. Nothing is written to the database: the transaction is rolled back."""
    if not find_spec("sqlalchemy"):
        raise MissingExtraError("Reading a database", "documents")
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    if not (url := os.environ.get(remote.url or "")):
        what, remedy = f"the variable {remote.url} is not set", "export it with the address of the database"
        raise InputError([Issue("documents.url", what, "", remedy)])
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            streamed = connection.execution_options(stream_results=True)
            for row in streamed.execute(text(remote.sql or "")).mappings():
                yield {str(key): _plain(value) for key, value in row.items()}
    except ModuleNotFoundError as error:
        fault = Issue(
            "documents.url", f"the driver {error.name} is not installed", "", f"pip install {error.name}"
        )
        raise InputError([fault]) from error
    except SQLAlchemyError as error:
        reason = quote_value(str(getattr(error, "orig", None) or type(error).__name__).strip())
        fault = Issue(
            "documents.sql", "the query failed", reason, "correct it, or the address of the database"
        )
        raise InputError([fault]) from error


def _plain(value: object) -> object:
    """A value of a row as JSON has it: dates and decimals as texts."""
    return value if isinstance(value, str | int | float | None) else str(value)


def _pages(remote: Remote, web: _Web, on_page: Callable[[int, int], None]) -> list[str]:
    problems: list[str] = []
    urls = list(dict.fromkeys(remote.urls or web.listed(remote.sitemap or "")))
    if len(urls) > remote.pages and not remote.urls:
        problems.append(
            f"{len(urls) - remote.pages:,} pages of the sitemap are more than pages: {remote.pages:,}"
        )
        urls = urls[: remote.pages]
    before = read_json(remote.kept / ADDRESSES) if (remote.kept / ADDRESSES).exists() else {}
    earlier = {url: name for name, url in before.items()}
    with folder_aside(remote.kept) as aside:
        kept: dict[str, str] = {}
        for done, url in enumerate(urls, start=1):
            try:
                content, suffix = web.page(url)
                name = f"{_slug(url)}{suffix}"
                (aside / name).write_bytes(content)
            except (_PageError, httpx2.HTTPError, httpx2.InvalidURL) as error:
                name = earlier.get(url, "")
                again = "; the page as it was fetched before is kept" if name else ""
                problems.append(f"{url}: {str(error) or type(error).__name__}{again}")
                if name:
                    copyfile(remote.kept / name, aside / name)
            if name:
                kept[name] = url
            on_page(done, len(urls))
        if not kept:
            said = problems or ["the sitemap lists none"]
            raise InputError(Issue("documents", "no page is fetched", each, "correct it") for each in said)
        write_json(aside / ADDRESSES, kept)
    return problems


@dataclass
class _Web:
    """Fetches pages that robots.txt allows, one at a time."""

    client: httpx2.Client
    pause: float
    robots: dict[str, RobotFileParser] = field(default_factory=dict)
    free: dict[str, float] = field(default_factory=dict)
    """Site -> when its next page may be fetched."""

    def page(self, url: str) -> tuple[bytes, str]:
        """The content of a page that is kept, and the suffix of its file. Raises _PageError or HTTPError."""
        body, kind = self._get(url)
        if kind not in KINDS:
            raise _PageError(f"it is {kind or 'of no known type'}, which is not read")
        if "html" not in kind:
            return body, KINDS[kind]
        if not (text := main_text(body)).strip():
            raise _PageError("it holds no text")
        return text.encode(), KINDS[kind]

    def listed(self, sitemap: str, deep: bool = True) -> Iterator[str]:
        """The pages of a sitemap, or of the sitemaps that it lists."""
        try:
            body, _ = self._get(sitemap)
        except (_PageError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            fault = Issue(
                "documents.sitemap", "it cannot be fetched", f"{sitemap}: {error}", "correct the address"
            )
            raise InputError([fault]) from error
        if body[:2] == b"\x1f\x8b":
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MOST_BYTES)
        found = [html.unescape(url) for url in _LOCATION.findall(body.decode("utf-8", errors="replace"))]
        if b"<sitemapindex" not in body:
            yield from found
        elif deep:
            for each in found:
                yield from self.listed(each, deep=False)

    def _get(self, url: str) -> tuple[bytes, str]:
        """The body and the type of what is at an address, behind at most five redirects."""
        for _ in range(6):
            self._wait_for_turn(url)
            with self.client.stream("GET", url) as response:
                if response.next_request is not None:
                    url = str(response.next_request.url)
                    continue
                if response.status_code != 200:
                    raise _PageError(f"the server answered {response.status_code}")
                return _body(response), response.headers.get("content-type", "").partition(";")[
                    0
                ].strip().lower()
        raise _PageError("it redirects too often")

    def _wait_for_turn(self, url: str) -> None:
        """Waits as the site's robots.txt asks; raises _PageError when it does not allow the page."""
        site = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        if site not in self.robots:
            self.robots[site] = self._rules(site)
        rules = self.robots[site]
        if not rules.can_fetch(AGENT, url):
            raise _PageError("robots.txt does not allow it")
        time.sleep(max(0.0, self.free.get(site, 0.0) - time.monotonic()))
        asked = float(rules.crawl_delay(AGENT) or 0)
        self.free[site] = time.monotonic() + min(max(self.pause, asked), PATIENCE)

    def _rules(self, site: str) -> RobotFileParser:
        """A site's robots.txt (RFC 9309): all is allowed where there is none, nothing where the server fails."""
        rules = RobotFileParser()
        response = self.client.get(f"{site}/robots.txt", follow_redirects=True)
        refused = ["User-agent: *", "Disallow: /"] if response.status_code >= 500 else []
        rules.parse(response.text.splitlines() if response.is_success else refused)
        return rules


_LOCATION = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*(.*?)\s*(?:\]\]>)?\s*</loc>", re.DOTALL)


def _body(response: httpx2.Response) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise _PageError(f"it is larger than {MOST_BYTES // 1_000_000} MB")
    return b"".join(parts)


def _slug(url: str) -> str:
    """A file's name for an address: what can be read of it, and a hash."""
    words = re.sub(r"[^\w.-]+", "-", url.partition("://")[2]).strip("-")[:80]
    return f"{words}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
