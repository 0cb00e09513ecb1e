"""Repair: what needs no judgement is put right in a new file, everything else stays byte for byte, and back again."""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.checks import check, repeats
from etude.checks.form import encoding
from etude.checks.personal import personal_data
from etude.checks.unread import unread
from etude.cli import main
from etude.errors import InputError
from etude.repair import fix, undo
from etude.repair.log import Files, read_log
from etude.repair.texts import decoded, without_markup
from etude.task import load_task

LETTERS = st.text("aZ 19.,'éüñßøåÉçœšžľőΩλЖя€“”’–…漢🙂\u00a0", min_size=1, max_size=30)
BROKEN = st.text("aé \xc2\xc3\xe2\u20ac\u2122\xa9\x80\x93\xa0\x0b\x1b[0m\ufffd\x81ÃƒÂÅÄð\x9f", max_size=16)
HTML = st.text("ab <>/&;", max_size=8).map(
    lambda text: text.replace("a", "<br>").replace("b", "&amp;").replace(";", "&lt;p&gt;")
)


def misread(text: str) -> str:
    """The text in UTF-8, read as Windows-1252 as browsers read it."""
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in text.encode()
    )


@given(LETTERS)
def test_what_is_decoded_is_the_text_or_left_alone(text: str) -> None:
    assert decoded(text) == text
    assert decoded(misread(text)) in (text, misread(text))


@pytest.mark.parametrize(
    "text", ["café", "Müller’s “Straße” – 5 €", "señor", "🙂", "na\xefve", "Größe: 3 m²"]
)
def test_texts_of_our_languages_are_read_again_also_twice(text: str) -> None:
    assert decoded(misread(text)) == text
    assert decoded(misread(misread(text))) == text


@pytest.mark.parametrize(
    "text",
    [
        "«CAFÉ»",
        "CAFÉ»",
        "“MAÇÔ",
        "IRMÃ…",
        "3×¼ cup",
        "voilà…",
        "the Å’s banks",
        "NESCAFÉ®",
        "Maß±0.1",
        "ß§ 5",
        "lost: \ufffd",
    ],
)
def test_what_may_be_meant_stays(text: str) -> None:
    assert decoded(text) == text


@given(BROKEN | HTML)
def test_a_second_time_changes_nothing(text: str) -> None:
    assert decoded(decoded(text)) == decoded(text)
    assert without_markup(without_markup(text)) == without_markup(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Built by <b>monks</b> &amp; masons.<br/>In 1200.", "Built by monks & masons.\nIn 1200."),
        ("<p>One</p> <p>Two</p>", "One\n\nTwo"),
        ("<ul><li>one</li></ul>", None),
        ('<a href="x">here</a>', None),
        ("The HTML entity &amp; is escaped", None),
        ("Type `<b>` for bold", None),
        ("&amp;lt;b", None),
        ('{"a": "&quot;"}', None),
    ],
)
def test_only_plain_leftovers_are_taken_out(text: str, plain: str | None) -> None:
    assert without_markup(text) == (text if plain is None else plain)


def lines(rows: Sequence[dict[str, object]]) -> bytes:
    """JSON lines in unlike ways of writing."""
    forms = [
        lambda row: json.dumps(row, ensure_ascii=False).encode() + b"\n",
        lambda row: json.dumps(row).encode() + b"\r\n",
        lambda row: b" " + json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n",
    ]
    return b"".join(forms[number % 3](row) for number, row in enumerate(rows))


def table(rows: Sequence[dict[str, object]]) -> bytes:
    """A table with a byte order mark and unlike quoting."""
    names = ["id", "input", "output", "more"]
    out = io.StringIO(newline="")
    for number, row in enumerate([dict(zip(names, names, strict=True)), *rows]):
        quoting = csv.QUOTE_ALL if number % 2 else csv.QUOTE_MINIMAL
        csv.writer(out, quoting=quoting).writerow([row.get(name, "") for name in names])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def task_of(folder: Path, content: bytes, name: str = "rows.jsonl", more: str = "") -> Path:
    """A task over these bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    file = folder / "task.yaml"
    file.write_text(f"name: t\nkind: answer\nmodel: fake\nexamples: {name}\n{more}", encoding="utf-8")
    return file


def row(number: int, asked: str, given: str) -> dict[str, object]:
    """A row with a value that is not taught."""
    return {"id": f"r{number}", "input": asked, "output": given, "more": f"n {number}"}


DEFECTS = (
    "Where is the cafÃ©?",
    "It was <b>monks</b> &amp; masons.",
    "Write to jane.doe@wombat-mail.com, card 4111 1111 1111 1111.",
    "the same",
    "a line\nand “another”",
    "ring +49 30 901820 \x07",
)
TEXT = st.sampled_from(DEFECTS) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), min_size=1, max_size=12
).filter(str.strip)
ROWS = st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=8).map(
    lambda pairs: (
        [row(number, *pair) for number, pair in enumerate(pairs)] + [row(99, "a plain one", "is it")]
    )
)


@pytest.mark.parametrize(("name", "write"), [("rows.jsonl", lines), ("rows.csv", table)])
@settings(max_examples=12)
@given(rows=ROWS)
def test_undone_it_is_the_old_file_and_done_twice_it_is_the_same(
    name: str, write: object, rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = write(rows)  # type: ignore[operator]
    folder = tmp_path_factory.mktemp("repair")
    task = load_task(task_of(folder, content, name))
    first = fix(task)
    assert task.examples.file.read_bytes() == content
    if not first.written:
        assert not first.files.fixed.exists()
        return
    fixed = first.files.fixed.read_bytes()
    assert fix(task).files.fixed.read_bytes() == fixed
    again = load_task(task_of(folder / "again", fixed, f"rows.fixed{Path(name).suffix}"))
    (again.folder / "rows.fixed.log.jsonl").write_bytes(first.files.log.read_bytes())
    assert not fix(again).written
    for entry in first.log.entries:
        assert entry.change.after is None or '"more"' in entry.change.after or name.endswith("csv")
    undo(task, ["all"])
    assert first.files.fixed.read_bytes() == content
    assert fix(task).files.fixed.read_bytes() == content


def planted(folder: Path) -> Path:
    """A task with one row of each defect, an own test and plain rows between."""
    pairs = [
        (f"What is told of item {number} in the hall?", f"It is number {number}.") for number in range(8)
    ]
    plain = [row(number, *pair) for number, pair in enumerate(pairs)]
    rows = [
        *plain[:4],
        row(10, DEFECTS[0], DEFECTS[2]),
        {**plain[2], "id": "r11"} | {"more": plain[2]["more"]},
        row(12, "An empty one", " "),
        *plain[4:],
        row(13, "Is the museum open on Sundays in winter", "Ask jane.doe@wombat-mail.com."),
    ]
    (folder / "own.jsonl").write_bytes(lines([row(1, "Is the museum open on Sundays in winter?", "Yes.")]))
    return task_of(folder, lines(rows), more="test: own.jsonl\n")


def test_each_defect_is_put_right_at_its_row_and_the_other_rows_keep_their_bytes(tmp_path: Path) -> None:
    file = planted(tmp_path)
    task = load_task(file)
    before, test = task.examples.file.read_bytes(), (tmp_path / "own.jsonl").read_bytes()
    done = fix(task)
    assert done.counts == {
        "encoding": 1,
        "privacy_email": 2,
        "privacy_card": 1,
        "repeated_input": 1,
        "empty": 1,
        "test_overlap": 1,
    }
    after = done.files.fixed.read_bytes()
    touched = {line for e in done.log.entries for line in range(e.change.line, e.change.last + 1)}
    kept = [text for number, text in enumerate(io.BytesIO(before), 1) if number not in touched]
    changed = [e.change.after.encode() for e in done.log.entries if e.change.after]
    assert sorted(io.BytesIO(after)) == sorted(kept + changed)
    assert "Where is the café?" in [json.loads(line)["input"] for line in after.split(b"\n") if line.strip()]
    assert b"wombat" not in after
    assert (tmp_path / "own.jsonl").read_bytes() == test
    assert file.read_text(encoding="utf-8").count("fixed") == 0
    for private in (done.files.log, done.files.key):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_contact_data_of_the_organisation_itself_is_not_masked(tmp_path: Path) -> None:
    asked = [f"Question number {number} on {'abcdefghijklmnopqrst'[number]}otters?" for number in range(20)]
    rows = [row(number, text, f"{text} Write to help@wombat-mail.com.") for number, text in enumerate(asked)]
    rows[3] = row(3, asked[3], "Ask jane.doe@wombat-mail.com.")
    done = fix(load_task(task_of(tmp_path, lines(rows))))
    assert done.counts["privacy_email"] == 1
    after = done.files.fixed.read_bytes()
    assert b"jane.doe" not in after
    assert after.count(b"help@wombat-mail.com") == 19


FIXABLE = {"encoding", "privacy_email", "privacy_card", "repeated_input", "empty", "test_overlap"}
CHECKS = (unread, encoding, repeats.repeated_inputs, repeats.test_overlap, personal_data)


def fixable(file: Path) -> set[str]:
    """Kinds that the check says a fix can put right."""
    return {one.kind for one in check(file, CHECKS) if one.fix}


def test_the_check_of_the_fixed_file_finds_no_more_of_it(tmp_path: Path) -> None:
    file = planted(tmp_path)
    assert fixable(file) == FIXABLE
    fix(load_task(file))
    text = file.read_text(encoding="utf-8").replace("examples: rows.jsonl", "examples: rows.fixed.jsonl")
    file.write_text(text, encoding="utf-8")
    assert not fixable(file)
    assert undo(load_task(file), ["r10"]).files.fixed == tmp_path / "rows.fixed.jsonl"
    assert fixable(file) == {"encoding", "privacy_email", "privacy_card"}


def test_what_was_taken_back_stays_so_and_only_chooses_kinds(tmp_path: Path) -> None:
    task = load_task(planted(tmp_path))
    fix(task)
    assert undo(task, ["r11"]).counts["repeated_input"] == 0
    assert fix(task).counts["repeated_input"] == 0
    assert set(fix(task, ["encoding"]).counts) == {"encoding"}
    with pytest.raises(InputError, match="contradiction"):
        fix(task, ["contradiction"])


def test_a_file_that_is_not_ours_or_was_changed_since_is_not_written_over(tmp_path: Path) -> None:
    task = load_task(planted(tmp_path))
    files = Files(task.examples.file)
    files.fixed.write_text("mine")
    with pytest.raises(InputError, match="no fix has written"):
        fix(task)
    files.fixed.unlink()
    fix(task)
    files.fixed.write_bytes(files.fixed.read_bytes() + b"\n")
    with pytest.raises(InputError, match="changed since"):
        undo(task, ["all"])
    assert files.fixed.read_bytes().endswith(b"\n\n")


def test_a_kill_between_log_and_rows_leaves_the_old_rows_and_the_same_command_goes_on(tmp_path: Path) -> None:
    task = load_task(planted(tmp_path))
    files = Files(task.examples.file)
    fix(task)
    old = files.fixed.read_bytes()
    undo(task, ["r11"])
    new = files.fixed.read_bytes()
    assert new != old
    files.fixed.write_bytes(old)  # as the kill has left it: the new log, the old rows
    assert fix(task).files.fixed.read_bytes() == new
    files.fixed.unlink()
    assert fix(task).files.fixed.read_bytes() == new


def test_a_disk_that_does_not_take_the_file_is_told_and_leaves_the_old_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = planted(tmp_path)
    (tmp_path / "rows.fixed.jsonl.part").mkdir()
    assert main(["check", str(file), "--fix"]) == 2
    assert "rows.fixed.jsonl.part" in capsys.readouterr().err
    assert not (tmp_path / "rows.fixed.jsonl").exists()
    (tmp_path / "rows.fixed.jsonl.part").rmdir()
    assert main(["check", str(file), "--fix"]) == 0


def test_the_command_says_what_it_did_and_the_line_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = planted(tmp_path)
    assert main(["check", str(file), "--fix"]) == 0
    told = capsys.readouterr().out
    assert "examples: rows.fixed.jsonl" in told
    log = read_log(tmp_path / "rows.fixed.log.jsonl")
    assert log is not None
    assert f"--undo rows.jsonl:{log.entries[0].change.line}" in told
    assert main(["check", str(file), "--undo", "rows.jsonl:999"]) == 2
    assert main(["check", str(file), "--undo", f"rows.jsonl:{log.entries[0].change.line}"]) == 0
    assert "1 change taken back" in capsys.readouterr().out
