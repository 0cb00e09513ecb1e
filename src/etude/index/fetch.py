"""Fetch web pages and the rows of a query for `etude index`, so that all later steps are offline.

Pages that the robots.txt of their site disallows are not fetched.
"""

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
from etude.base.files import atomic_folder, read_json, write_json, write_lines
from etude.errors import InputError, Issue, MissingExtraError, quote_value
from etude.index.documents import ADDRESSES, extract_text
from etude.task import RemoteDocuments

AGENT = f"etude/{__version__}"
PAUSE = 0.5  # Seconds between two pages of one site, unless its robots.txt asks for more
PAGE_TIMEOUT = 30.0  # Seconds for a page; also the longest pause that a robots.txt can ask for
MAX_PAGE_BYTES = 20_000_000  # Size of the largest page that is read
# Type of a page -> suffix of its file.
KINDS = {
    "text/html": ".md",
    "application/xhtml+xml": ".md",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
}
_LOCATION = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*(.*?)\s*(?:\]\]>)?\s*</loc>", re.DOTALL)


class _PageError(Exception):
    """The reason why a page is not fetched."""


def fetch_documents(
    remote: RemoteDocuments,
    on_page: Callable[[int, int], None] = lambda done, total: None,
    pause: float = PAUSE,
) -> list[str]:
    """Fetch the task's documents into `remote.folder`, atomically, and return messages on pages that failed.

    For a page that cannot be fetched now, its earlier version stays. `on_page` gets the number done and the total.
    Raises InputError if nothing can be fetched.
    """
    if remote.sql is not None:
        with atomic_folder(remote.folder) as temporary:
            write_lines(temporary / "records.jsonl", _query_rows(remote))
        return []
    if not find_spec("resiliparse"):
        raise MissingExtraError("Reading web pages", "documents")
    with httpx2.Client(headers={"User-Agent": AGENT}, timeout=PAGE_TIMEOUT) as client:
        return _fetch_pages(remote, _WebClient(client, pause), on_page)


def _query_rows(remote: RemoteDocuments) -> Iterator[dict[str, object]]:
    """Yield the rows of the query. Nothing is written to the database: the transaction is rolled back."""
    if not find_spec("sqlalchemy"):
        raise MissingExtraError("Reading a database", "documents")
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    if not (url := os.environ.get(remote.url or "")):
        message, remedy = (
            f"the variable {remote.url} is not set",
            "export it with the address of the database",
        )
        raise InputError([Issue("documents.url", message, "", remedy)])
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            rows = connection.execution_options(stream_results=True).execute(text(remote.sql or ""))
            for row in rows.mappings():
                # dates and decimals become texts
                yield {
                    str(key): value if isinstance(value, str | int | float | None) else str(value)
                    for key, value in row.items()
                }
    except ModuleNotFoundError as error:
        issue = Issue(
            "documents.url", f"the driver {error.name} is not installed", "", f"pip install {error.name}"
        )
        raise InputError([issue]) from error
    except SQLAlchemyError as error:
        reason = quote_value(str(getattr(error, "orig", None) or type(error).__name__).strip())
        issue = Issue(
            "documents.sql", "the query failed", reason, "correct the query, or the address of the database"
        )
        raise InputError([issue]) from error


def _fetch_pages(
    remote: RemoteDocuments, web: "_WebClient", on_page: Callable[[int, int], None]
) -> list[str]:
    problems: list[str] = []
    # 1. The addresses of the task or, up to pages:, of its sitemap.
    urls = list(dict.fromkeys(remote.urls or web.list_pages(remote.sitemap or "")))
    if len(urls) > remote.pages and not remote.urls:
        problems.append(
            f"{len(urls) - remote.pages:,} pages of the sitemap were skipped, because of pages: {remote.pages:,}"
        )
        urls = urls[: remote.pages]
    addresses = read_json(remote.folder / ADDRESSES) if (remote.folder / ADDRESSES).exists() else {}
    earlier_names = {url: name for name, url in addresses.items()}
    with atomic_folder(remote.folder) as temporary:
        saved: dict[str, str] = {}
        # 2. Each page into a file; a page that fails now keeps its earlier file.
        for num_done, url in enumerate(urls, start=1):
            try:
                content, suffix = web.fetch_page(url)
                words = re.sub(r"[^\w.-]+", "-", url.partition("://")[2]).strip("-")[:80]
                name = f"{words}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{suffix}"
                (temporary / name).write_bytes(content)
            except (_PageError, httpx2.HTTPError, httpx2.InvalidURL) as error:
                name = earlier_names.get(url, "")
                note = "; the earlier version of the page is used" if name else ""
                problems.append(f"{url}: {str(error) or type(error).__name__}{note}")
                if name:
                    copyfile(remote.folder / name, temporary / name)
            if name:
                saved[name] = url
            on_page(num_done, len(urls))
        if not saved:
            reasons = problems or ["the sitemap lists no pages"]
            raise InputError(
                Issue("documents", "no page could be fetched", reason, "correct it") for reason in reasons
            )
        # 3. The address of each file, for citations.
        write_json(temporary / ADDRESSES, saved)
    return problems


@dataclass
class _WebClient:
    """Fetches pages that robots.txt allows, one at a time."""

    client: httpx2.Client
    pause: float
    robots: dict[str, RobotFileParser] = field(default_factory=dict)
    next_fetch: dict[str, float] = field(default_factory=dict)
    """Site -> when its next page may be fetched."""

    def fetch_page(self, url: str) -> tuple[bytes, str]:
        """Fetch a page; return its content and the suffix of its file. Raises _PageError or HTTPError."""
        body, media_type = self._get(url)
        if media_type not in KINDS:
            raise _PageError(f"its type is {media_type or 'unknown'}, which is not supported")
        if "html" not in media_type:
            return body, KINDS[media_type]
        if not (text := extract_text(body)).strip():
            raise _PageError("it has no text")
        return text.encode(), KINDS[media_type]

    def list_pages(self, sitemap: str, deep: bool = True) -> Iterator[str]:
        """Yield the addresses in a sitemap, or in the sitemaps that it lists."""
        try:
            body, _ = self._get(sitemap)
        except (_PageError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            value = f"{sitemap}: {error}"
            issue = Issue("documents.sitemap", "the sitemap cannot be fetched", value, "correct the address")
            raise InputError([issue]) from error
        if body[:2] == b"\x1f\x8b":  # gzip
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_PAGE_BYTES)
        urls = [html.unescape(url) for url in _LOCATION.findall(body.decode("utf-8", errors="replace"))]
        if b"<sitemapindex" not in body:
            yield from urls
        elif deep:
            for url in urls:
                yield from self.list_pages(url, deep=False)

    def _get(self, url: str) -> tuple[bytes, str]:
        """Return the body and media type of an address, after at most five redirects."""
        for _ in range(6):
            self._wait_for_turn(url)
            with self.client.stream("GET", url) as response:
                if response.next_request is not None:
                    url = str(response.next_request.url)
                    continue
                if response.status_code != 200:
                    raise _PageError(f"the server returned status {response.status_code}")
                content_type = response.headers.get("content-type", "")
                return _read_body(response), content_type.partition(";")[0].strip().lower()
        raise _PageError("it redirects too often")

    def _wait_for_turn(self, url: str) -> None:
        """Wait as long as the site's robots.txt asks; raises _PageError if it disallows the page."""
        site = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        if site not in self.robots:
            # RFC 9309: without a robots.txt everything is allowed; if the server fails, nothing is
            self.robots[site] = RobotFileParser()
            response = self.client.get(f"{site}/robots.txt", follow_redirects=True)
            fallback = ["User-agent: *", "Disallow: /"] if response.status_code >= 500 else []
            self.robots[site].parse(response.text.splitlines() if response.is_success else fallback)
        rules = self.robots[site]
        if not rules.can_fetch(AGENT, url):
            raise _PageError("robots.txt does not allow it")
        time.sleep(max(0.0, self.next_fetch.get(site, 0.0) - time.monotonic()))
        delay = float(rules.crawl_delay(AGENT) or 0)
        self.next_fetch[site] = time.monotonic() + min(max(self.pause, delay), PAGE_TIMEOUT)


def _read_body(response: httpx2.Response) -> bytes:
    blocks, size = [], 0
    for block in response.iter_bytes():
        blocks.append(block)
        size += len(block)
        if size > MAX_PAGE_BYTES:
            raise _PageError(f"it is larger than {MAX_PAGE_BYTES // 1_000_000} MB")
    return b"".join(blocks)
