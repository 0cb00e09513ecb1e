"""Documents of all kinds, files, web pages and rows of a database, to passages that keep their place."""

from __future__ import annotations

import os
import pwd
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import which

import pytest

from etude.cli import main
from etude.comparison import compare
from etude.errors import InputError
from etude.index.build import build_index
from etude.index.documents import read_passages
from etude.index.fetch import fetch_documents
from etude.index.passages import MAX_WORDS
from etude.models.registry import Models
from etude.task import RemoteDocuments, load_task
from small_task import library, write_task

PARAGRAPH = (
    "The library is open from nine to five on every day but Sunday, and closed on public holidays. " * 3
)


def build_pdf(*pages: str) -> bytes:
    """A PDF file by hand, with one line of text a page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        parts.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        parts.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    body, places = "%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(parts) + 1
    trailer = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


def write_docx(file: Path) -> None:
    """A Word file with a heading, a paragraph and a table."""
    from docx import Document

    document = Document()
    document.add_heading("Fees", level=1)
    document.add_paragraph("A card costs ten euros.")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "late", "1 euro"
    document.save(str(file))


def build_page(title: str, body: str = PARAGRAPH) -> str:
    """A page as sites have them."""
    return (
        f"<html><head><title>x</title></head><body><nav><ul><li><a href=a>menu</a></ul></nav><main><h1>{title}</h1>"
        f"<p>{body}</p><p>Ask at the <b>desk</b>. {body}</p></main><footer>cookie policy</footer></body></html>"
    )


def test_files_of_every_kind_are_read_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n\nfirst", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"name": "Two", "price": 3, "gone": null}\n', encoding="utf-8")
    (tmp_path / "c.csv").write_text("name,price\nThree,4\n", encoding="utf-8")
    (tmp_path / "d.html").write_text(
        "<h1>Four</h1><script>x()</script><p>fourth <b>one</b></p>", encoding="utf-8"
    )
    (tmp_path / "e.pdf").write_bytes(build_pdf("fifth one", "and its second page"))
    write_docx(tmp_path / "f.docx")
    (tmp_path / ".hidden.md").write_text("never", encoding="utf-8")
    found = {passage.name: passage.text for passage in read_passages(tmp_path)}
    assert found == {
        "a.md": "# One\n\nfirst",
        "b.jsonl: record 1": "name: Two\nprice: 3",
        "c.csv: record 1": "name: Three\nprice: 4",
        "d.html": "# Four\n\nfourth one",
        "e.pdf: page 1": "fifth one",
        "e.pdf: page 2": "and its second page",
        "f.docx": "# Fees\n\nA card costs ten euros.\n\nlate | 1 euro",
    }


def test_records_of_parquet_are_read_and_long_ones_are_split(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table
    lines = "\n".join(["ten words are on this line and no others here"] * (MAX_WORDS // 5))
    parquet.write_table(table({"title": ["short", "long"], "body": ["text", lines]}), tmp_path / "r.parquet")
    places = [passage.section for passage in read_passages(tmp_path)]
    assert places[0] == "record 1"
    assert places[1:3] == ["record 2", "record 2, part 2"]


def test_the_main_text_of_a_page_keeps_its_headings_and_drops_menus(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(build_page("Opening hours"), encoding="utf-8")
    (found,) = read_passages(tmp_path)
    assert found.text.startswith("# Opening hours\n\nThe library is open")
    assert "menu" not in found.text
    assert "cookie" not in found.text


def test_all_files_that_cannot_be_read_are_named_with_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("fine", encoding="utf-8")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "c.pdf").write_bytes(build_pdf(""))
    (tmp_path / "d.docx").write_bytes(b"no zip")
    (tmp_path / "e.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "f.pptx").write_bytes(b"")
    (tmp_path / "g.jsonl").write_text('{"a": 1}\n[2]\n{"a":\n', encoding="utf-8")
    with pytest.raises(InputError) as told:
        read_passages(tmp_path)
    said = [str(fault) for fault in told.value.issues]
    assert len(said) == 7, said
    for name, reason in (
        ("b.pdf", ""),
        ("c.pdf", "OCR"),
        ("d.docx", ""),
        ("e.txt", "utf-8"),
        ("f.pptx", "files with the suffix .pptx are not supported"),
        ("g.jsonl:2", "not a JSON object"),
        ("g.jsonl:3", "not JSON"),
    ):
        assert any(name in line and reason in line for line in said), (name, said)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A web site on this machine."""
    pages: dict[str, tuple[str, str | bytes]] = {
        "/robots.txt": ("text/plain", "User-agent: *\nDisallow: /private\n"),
        "/hours": ("text/html", build_page("Opening hours")),
        "/private": ("text/html", build_page("Staff")),
        "/plan.pdf": ("application/pdf", build_pdf("the plan of the house")),
        "/image": ("image/png", b"x"),
    }

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/private")
                self.end_headers()
                return
            listed = "".join(
                f"<url><loc>{root}{path}</loc></url>" for path in ("/hours", "/plan.pdf", "/private")
            )
            nested = f"<sitemapindex><sitemap><loc>{root}/pages.xml</loc></sitemap></sitemapindex>"
            maps = {
                "/pages.xml": ("text/xml", f"<urlset>{listed}</urlset>"),
                "/sitemap.xml": ("text/xml", nested),
            }
            kind, body = (pages | maps).get(self.path, ("", ""))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode() if isinstance(body, str) else body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Site)
    root = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield root
    server.shutdown()
    thread.join()
    server.server_close()


def test_pages_are_fetched_as_robots_allow_and_the_rest_is_reported(site: str, tmp_path: Path) -> None:
    urls = tuple(f"{site}/{name}" for name in ("hours", "plan.pdf", "private", "moved", "gone", "image"))
    problems = fetch_documents(RemoteDocuments(tmp_path / "kept", urls=urls), pause=0)
    for name, reason in (
        ("private", "robots.txt does not allow it"),
        ("moved", "robots.txt does not allow it"),
        ("gone", "404"),
        ("image", "image/png"),
    ):
        assert any(f"/{name}: " in line and reason in line for line in problems), (name, problems)
    assert len(problems) == 4
    found = {passage.name: passage.text for passage in read_passages(tmp_path / "kept")}
    assert set(found) == {f"{site}/hours", f"{site}/plan.pdf: page 1"}
    assert found[f"{site}/hours"].startswith("# Opening hours")


def test_a_page_that_is_gone_stays_as_it_was_and_a_sitemap_is_followed(site: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert len(fetch_documents(RemoteDocuments(kept, sitemap=f"{site}/sitemap.xml"), pause=0)) == 1
    assert len(read_passages(kept)) == 2
    (problem,) = fetch_documents(RemoteDocuments(kept, sitemap=f"{site}/sitemap.xml", pages=1), pause=0)
    assert "2 pages of the sitemap" in problem
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/hours"
        addresses = (kept / ".addresses.json").read_text(encoding="utf-8").replace(f"{site}/hours", closed)
        (kept / ".addresses.json").write_text(addresses, encoding="utf-8")
        (problem,) = fetch_documents(RemoteDocuments(kept, urls=(closed,)), pause=0)
    assert "the earlier version of the page is used" in problem
    assert read_passages(kept)[0].file == closed
    with pytest.raises(InputError, match="no page could be fetched"):
        fetch_documents(RemoteDocuments(tmp_path / "none", urls=(f"{site}/gone",)), pause=0)


def create_database(file: Path) -> str:
    with sqlite3.connect(file) as connection:
        connection.execute("create table books (title text, age integer, added date)")
        rows = [(f"All about {theme}", age, "2026-01-02") for age, theme in enumerate(("dragons", "trains"))]
        connection.executemany("insert into books values (?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{file}"


def test_rows_of_a_query_are_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = "documents: {sql: select title from books order by age, url: env:SHELF}\nmethods: [retrieval]\n"
    file = write_task(tmp_path, more=more)
    task = load_task(file)
    with pytest.raises(InputError, match="Run etude index"):
        compare(file)
    with pytest.raises(InputError, match="SHELF is not set"):
        build_index(task, Models())
    monkeypatch.setenv("SHELF", create_database(tmp_path / "shelf.db"))
    found = build_index(task, Models())
    assert (found.documents, found.passages, found.encoder) == (1, 2, None)
    assert task.documents is not None
    assert [each.text for each in read_passages(task.documents)] == [
        "title: All about dragons",
        "title: All about trains",
    ]


def test_a_query_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELF", create_database(tmp_path / "shelf.db"))
    with pytest.raises(InputError, match="no such table"):
        fetch_documents(RemoteDocuments(tmp_path / "kept", sql="select * from absent", url="SHELF"))
    monkeypatch.setenv("SHELF", "nothing://x:secret@host/y")
    with pytest.raises(InputError) as told:
        fetch_documents(RemoteDocuments(tmp_path / "kept", sql="select 1", url="SHELF"))
    assert "secret" not in str(told.value)
    assert not (tmp_path / "kept").exists()


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL that lives for one test."""
    if not all(map(which, ("initdb", "postgres", "pg_ctl"))):
        pytest.skip("no PostgreSQL; to run: install it")
    pytest.importorskip("pg8000", reason="no pg8000; to run: pip install pg8000")
    folder = tmp_path_factory.mktemp("postgres")
    user: dict[str, object] = {}
    if os.geteuid() == 0:  # which initdb refuses
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        for above in folder.parents[:3]:
            above.chmod(above.stat().st_mode | 0o011)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run(
            command,
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            **user,
        )  # type: ignore[call-overload]

    run("initdb", "-D", "data", "-U", "etude", "-A", "trust", "--no-sync")
    run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"-p {port} -h 127.0.0.1 -k {folder} -F", "start")
    yield f"postgresql+pg8000://etude@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-D", "data", "-m", "immediate", "stop")


def test_rows_come_from_postgresql_too(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELF", postgres)
    sql = "select 'Night' as title, 1.50::numeric as price, date '2026-01-02' as added"
    fetch_documents(RemoteDocuments(tmp_path / "kept", sql=sql, url="SHELF"))
    (found,) = read_passages(tmp_path / "kept")
    assert found.text == "title: Night\nprice: 1.50\nadded: 2026-01-02"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{urls: [https://a.b/c], sql: select 1}", "needs one of"),
        ("{sql: select 1}", "must be set together"),
        ("{sql: select 1, url: sqlite:///x.db}", "must be the name of an environment variable"),
        ("{urls: [catalogue]}", "must be the URL of a page"),
        ("{sitemaps: https://a.b/c}", "unknown key"),
    ],
)
def test_errors_in_what_is_to_be_fetched_are_named(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_task(write_task(tmp_path, more=f"documents: {written}\n"))


def test_index_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str], site: str) -> None:
    assert main(["index", str(write_task(tmp_path / "a", more=library(tmp_path / "a")))]) == 0
    assert "8 documents, 8 passages;" in capsys.readouterr().out
    assert main(["index", str(write_task(tmp_path / "b"))]) == 2
    assert "has no documents" in capsys.readouterr().err
    more = f"documents: {{urls: ['{site}/hours', '{site}/gone']}}\nencoder: none\n"
    assert main(["index", str(write_task(tmp_path / "c", more=more))]) == 0
    said = capsys.readouterr()
    assert "1 document, 1 passage" in said.out
    assert "/gone: the server returned status 404" in said.err
