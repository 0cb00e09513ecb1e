"""Documents of all kinds to passages that keep their place."""

from pathlib import Path

import pytest

from etude.cli import main
from etude.errors import InputError
from etude.index.documents import read_passages
from etude.index.passages import MAX_WORDS
from small_task import library, write_task

PARAGRAPH = (
    "The library is open from nine to five on every day but Sunday, and closed on public holidays. "
    * 3
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
    body = "%PDF-1.4\n"
    places = []
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
    table.rows[0].cells[0].text = "late"
    table.rows[0].cells[1].text = "1 euro"
    document.save(str(file))


def build_page(title: str, body: str = PARAGRAPH) -> str:
    return (
        "<html><head><title>x</title></head><body><nav><ul><li><a "
        f"href=a>menu</a></ul></nav><main><h1>{title}</h1><p>{body}</p><p>Ask at the <b>desk</b>. "
        f"{body}</p></main><footer>cookie policy</footer></body></html>"
    )


def test_files_of_every_kind_are_read_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n\nfirst", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(
        '{"name": "Two", "price": 3, "gone": null}\n', encoding="utf-8"
    )
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
    parquet.write_table(
        table({"title": ["short", "long"], "body": ["text", lines]}), tmp_path / "r.parquet"
    )
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


def test_index_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(write_task(tmp_path / "a", more=library(tmp_path / "a")))]) == 0
    assert "8 documents, 8 passages;" in capsys.readouterr().out
    assert main(["index", str(write_task(tmp_path / "b"))]) == 2
    assert "has no documents" in capsys.readouterr().err
