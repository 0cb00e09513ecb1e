"""`etude check --fix`: rows are corrected in a new file, all others keep their bytes, and each
change can be undone.
"""

import csv
import gc
import io
import json
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etude.checks import check
from etude.checks.rows.damaged_text import (
    find_markup,
    find_wrong_characters,
    fix_encoding,
    remove_markup,
)
from etude.checks.rows.repeats import check_repeated_inputs, check_test_overlap
from etude.checks.rows.single_rows import check_encoding
from etude.checks.rows.unreadable import check_unreadable
from etude.checks.safety.personal import check_personal_data
from etude.cli import main
from etude.cli.checking import fix_examples
from etude.data.formats import read_rows
from etude.errors import InputError
from etude.privacy import Masker
from etude.repair import fix, undo
from etude.repair.change_log import FixFiles, log_path, read_log
from etude.repair.changes import plan_changes
from etude.repair.editable_rows import read_editable_rows
from etude.repair.fix_file import format_source_line
from etude.repair.row_drafts import RowDraft
from etude.task import RowSource, load_task

WORDS = (
    "café “Straße” d’été Ørsted Å señor, niño… œuvre «CAFÉ» žluťoučký kůň tűrő Ωμέγα λόγος Живаго "
    "я 漢字 5€ – 3×¼ 🙂 née\u00a0: NESCAFÉ® l’É. the"
).split(" ")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
BROKEN = st.text(
    "aé \xc2\xc3\xe2\u20ac\u2122\xa9\x80\x93\xa0\x0b\x1b[0m\ufffd\x81ÃƒÂÅÄð\x9f", max_size=16
)
HTML = st.text("ab <>/&;", max_size=8).map(
    lambda text: text.replace("a", "<br>").replace("b", "&amp;").replace(";", "&lt;p&gt;")
)


def misread(text: str) -> str:
    """The text in UTF-8, read as Windows-1252 as browsers read it."""
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in text.encode()
    )


@given(TEXTS)
def test_what_is_decoded_is_the_text_or_left_alone(text: str) -> None:
    assert fix_encoding(text) == text
    assert fix_encoding(misread(text)) in (text, misread(text))


@pytest.mark.parametrize(
    "text", ["café", "Müller’s “Straße” – 5 €", "señor", "🙂", "na\xefve", "Größe: 3 m²"]
)
def test_texts_of_our_languages_are_read_again_also_twice(text: str) -> None:
    assert fix_encoding(misread(text)) == fix_encoding(misread(misread(text))) == text


MEANT = (
    "«CAFÉ»|CAFÉ»|“MAÇÔ|IRMÃ…|3×¼ cup|voilà…|the Å’s banks|NESCAFÉ®|Maß±0.1|ß§ 5|viel „Spaß“ und "
    "„groß…“|QUALITÉ\xa0: bonne"
).split("|")


@pytest.mark.parametrize("text", MEANT)
def test_what_may_be_meant_stays(text: str) -> None:
    assert fix_encoding(text) == text
    assert not list(find_wrong_characters(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lost: \ufffd", ["\ufffd"]),
        ("Das „große“ CafÃ© \x07", ["Ã©", "\x07"]),
        ("itâ\x80\x99s", ["â\x80\x99"]),
        ("page\x0cbreak", ["\x0c"]),
    ],
)
def test_only_wrong_characters_are_shown(text: str, found: list[str]) -> None:
    assert [match[0] for match in find_wrong_characters(text)] == found


@pytest.mark.parametrize("filling", [" ", "\n", " <br>", "</p>\n", "<", "`a` <b>", "``` "])
def test_hostile_text_costs_time_in_proportion(filling: str) -> None:
    started = time.process_time()
    remove_markup(f"&amp;{filling * 60_000}.")
    list(find_markup(filling * 60_000))
    assert time.process_time() - started < 1


@given(BROKEN | HTML)
def test_a_second_time_changes_nothing(text: str) -> None:
    assert fix_encoding(fix_encoding(text)) == fix_encoding(text)
    assert remove_markup(remove_markup(text)) == remove_markup(text)


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
        ("Bold is <b>so</b>:\n```\n<b>so</b>\n```", None),
        ("a &amp; b, x?id=7&region=eu&section=2", "a & b, x?id=7&region=eu&section=2"),
        ('{"a": "&quot;"}', None),
    ],
)
def test_only_plain_leftovers_are_taken_out(text: str, plain: str | None) -> None:
    assert remove_markup(text) == (text if plain is None else plain)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Use <b>this</b>.", ["<b>", "</b>"]),
        ("```html\n<b>Hi</b>&nbsp;\n```\nor `<i>`, &amp; more", ["&amp;"]),
        ("```\n<b>", []),
        ("It`s <b>bold", ["<b>"]),
    ],
)
def test_html_in_code_is_no_leftover(text: str, found: list[str]) -> None:
    assert [match[0] for match in find_markup(text)] == found


def lines(rows: Sequence[dict[str, object]]) -> bytes:
    """JSON lines in unlike ways of writing."""
    forms = [
        lambda row: json.dumps(row, ensure_ascii=False).encode() + b"\n",
        lambda row: json.dumps(row).encode() + b"\r\n",
        lambda row: (
            b" " + json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
        ),
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


def task_of(folder: Path, content: bytes, name: str = "rows.jsonl", extra: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    file = folder / "task.yaml"
    file.write_text(
        f"name: t\nkind: answer\nmodel: fake\nexamples: {name}\n{extra}", encoding="utf-8"
    )
    return file


@settings(max_examples=40)
@example(cells=["a", "x" * 200_000, "c\n"], end=b"", all_quoted=False, text="b")
@given(
    cells=st.lists(st.text('a\r\n",; é', max_size=6), min_size=3, max_size=3).filter(
        lambda cells: cells[1].strip()
    ),
    end=st.sampled_from([b"", b"\n", b"\r\n"]),
    all_quoted=st.booleans(),
    text=st.text('a\r\n",; é', max_size=6),
)
def test_a_row_of_a_table_is_read_as_it_was_written(
    cells: list[str],
    end: bytes,
    all_quoted: bool,
    text: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(out, quoting=quoting, lineterminator="\r\n").writerow(cells)
    file = tmp_path_factory.mktemp("table") / "rows.csv"
    file.write_bytes(b"id,input,output\n" + out.getvalue().removesuffix("\r\n").encode() + end)
    (record,) = read_editable_rows(
        RowSource(file=file, input=("input",), output="output", id="id"), "answer"
    )
    changed = record.with_texts({("input",): text})
    assert changed.raw.endswith(end)
    file.write_bytes(b"id,input,output\n" + changed.raw)
    with file.open(encoding="utf-8", newline="") as stream:
        before = csv.field_size_limit(2**20)
        rows = list(csv.reader(stream))
        csv.field_size_limit(before)
    assert rows[1:] == [[cells[0], text, cells[2]]]


def test_a_row_that_cannot_be_written_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = 'input\toutput\n5"<br>of rain\tyes\nwhat and why\t4"\n"none\tof it\n'
    file = task_of(tmp_path, rows.encode(), "rows.tsv")
    assert main(["check", str(file), "--fix"]) == 0
    told = "by hand, because the format of rows.tsv cannot store the change: rows.tsv:2."
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_chat_that_is_written_as_json_stays_json_in_a_text(name: str, tmp_path: Path) -> None:
    question = [
        f'Ask "{word}" in\nthe café' for word in ("a card 4111 1111 1111 1111", "nobody", "them")
    ]
    answer = {"role": "assistant", "content": "I did."}
    chats = [[{"role": "user", "content": text}, answer] for text in question]
    cells = [
        {"nr": f"{n}", "messages": json.dumps(chat, ensure_ascii=n == 0)}
        for n, chat in enumerate(chats)
    ]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([list(cells[0]), *(each.values() for each in cells)])
    content = lines(cells) if name.endswith("jsonl") else out.getvalue().encode()
    result = fix(load_task(task_of(tmp_path, content, name)))
    fixed = result.files.fixed_file
    assert result.counts == {"privacy_card": 1}
    (line,) = set(fixed.read_bytes().splitlines()) - set(content.splitlines())
    assert b"4111 1111" not in line
    assert rb"\u00e9" in line  # escaped as it was
    masked = read_rows(RowSource(fixed)).examples
    assert masked[0].text.startswith('Ask "a card ')
    assert masked[0].text.endswith('" in\nthe café')
    assert [each.text for each in masked[1:]] == question[1:]


def row(number: int, question: str, answer: str) -> dict[str, object]:
    """A row with a value that is not taught."""
    return {"id": f"r{number}", "input": question, "output": answer, "more": f"n {number}"}


DEFECTS = (
    "Where is the cafÃ©?",
    "It was <b>monks</b> &amp; masons.",
    "Write to jane.doe@wombat-mail.com, card 4111 1111 1111 1111.",
    "the same",
    "a line\nand “another”",
    "ring +49 30 901820 \x07",
)
TEXT = st.sampled_from(DEFECTS) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"),
    min_size=1,
    max_size=12,
).filter(str.strip)
ROWS = st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=8).map(
    lambda pairs: [
        *(row(number, *pair) for number, pair in enumerate(pairs)),
        row(99, "plain", "is it"),
    ]
)


@pytest.mark.parametrize(("name", "write"), [("rows.jsonl", lines), ("rows.csv", table)])
@settings(max_examples=12)
@given(rows=ROWS)
@example(
    rows=[
        row(0, "cafÃ©", "<b>monks</b>"),
        row(1, "cafÃ©", "<b>monks</b>"),
        row(99, "plain", "is it"),
    ]
)
def test_undone_it_is_the_old_file_and_done_twice_it_is_the_same(
    name: str,
    write: object,
    rows: list[dict[str, object]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = write(rows)  # type: ignore[operator]
    folder = tmp_path_factory.mktemp("repair")
    task = load_task(task_of(folder, content, name))
    first = fix(task)
    assert task.examples.file.read_bytes() == content
    if not first.has_written:
        assert not first.files.fixed_file.exists()
        return
    fixed = first.files.fixed_file.read_bytes()
    assert fix(task).files.fixed_file.read_bytes() == fixed
    again = load_task(task_of(folder / "again", fixed, f"rows.fixed{Path(name).suffix}"))
    log_path(again.examples.file).write_bytes(first.files.log.read_bytes())
    assert not fix(again).has_written
    for change in first.log.changes:
        assert change.after is None or '"more"' in change.after or name.endswith("csv")
    undo(task, ["all"])
    assert first.files.fixed_file.read_bytes() == content
    assert fix(task).files.fixed_file.read_bytes() == content


FIXABLE = {"encoding", "privacy_email", "privacy_card", "repeated_input", "empty", "test_overlap"}


def planted(folder: Path) -> Path:
    """A task with one row of each defect, an own test and plain rows between."""
    plain = [
        row(n, f"What is told of item {n} in the hall?", f"It is number {n}.") for n in range(8)
    ]
    rows = [
        *plain[:4],
        row(10, DEFECTS[0], DEFECTS[2]),
        {**plain[2], "id": "r11"} | {"more": plain[2]["more"]},
        row(12, "An empty one", " "),
        *plain[4:],
        row(13, "Is the museum open on Sundays in winter", "Ask jane.doe@wombat-mail.com."),
    ]
    (folder / "own.jsonl").write_bytes(
        lines([row(1, "Is the museum open on Sundays in winter?", "Yes.")])
    )
    return task_of(folder, lines(rows), extra="test: own.jsonl\n")


def test_each_defect_is_fixed_and_other_rows_keep_their_bytes(tmp_path: Path) -> None:
    file = planted(tmp_path)
    task = load_task(file)
    before = task.examples.file.read_bytes()
    test = (tmp_path / "own.jsonl").read_bytes()
    result = fix(task)
    assert result.counts == {kind: 1 + (kind == "privacy_email") for kind in FIXABLE}
    after = result.files.fixed_file.read_bytes()
    touched = {
        line for change in result.log.changes for line in range(change.line, change.last_line + 1)
    }
    kept_lines = [
        text for number, text in enumerate(io.BytesIO(before), 1) if number not in touched
    ]
    changed = [change.after.encode() for change in result.log.changes if change.after]
    assert sorted(io.BytesIO(after)) == sorted(kept_lines + changed)
    assert "Where is the café?" in [
        json.loads(line)["input"] for line in after.split(b"\n") if line.strip()
    ]
    assert b"wombat" not in after
    assert (tmp_path / "own.jsonl").read_bytes() == test
    assert file.read_text(encoding="utf-8").count("fixed") == 0
    for private in (result.files.log, result.files.key):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_contact_data_of_the_organisation_itself_is_not_masked(tmp_path: Path) -> None:
    question = [
        f"Question number {n} on {letter}otters?" for n, letter in enumerate("abcdefghijklmnopqrst")
    ]
    rows = [
        row(n, text, f"{text} Write to help@wombat-mail.com.") for n, text in enumerate(question)
    ]
    rows[3] = row(3, question[3], "Ask jane.doe@wombat-mail.com.")
    result = fix(load_task(task_of(tmp_path, lines(rows))))
    assert result.counts["privacy_email"] == 1
    after = result.files.fixed_file.read_bytes()
    assert b"jane.doe" not in after
    assert after.count(b"help@wombat-mail.com") == 19


def test_a_batch_of_rows_is_in_memory_and_how_large_it_is_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [
        (f"{DEFECTS[number % 6]} {number // 12}", f"It is {number // 12}.") for number in range(90)
    ]
    rows = [row(number, *pair) for number, pair in enumerate(pairs)]
    (tmp_path / "own.jsonl").write_bytes(lines(rows[80:83]))
    task = load_task(task_of(tmp_path, lines(rows), extra="test: own.jsonl\n"))
    most = 0

    def wanted(kind: str) -> bool:
        nonlocal most
        if kind == "repeated_input":  # asked once a batch
            most = max(most, sum(type(each) is RowDraft for each in gc.get_objects()))
        return True

    whole = list(plan_changes(task, wanted, Masker(b"key")).changes)
    assert {"test_overlap", "repeated_input", "markup"} <= {
        kind for name in whole for kind in name.kinds
    }
    assert most >= 90
    most = 0
    monkeypatch.setattr("etude.repair.changes.BATCH_ROWS", 7)
    assert list(plan_changes(task, wanted, Masker(b"key")).changes) == whole
    assert most <= 2 * 7


CHECKS = (
    check_unreadable,
    check_encoding,
    check_repeated_inputs,
    check_test_overlap,
    check_personal_data,
)


def fixable(file: Path) -> set[str]:
    """Kinds that the check says a fix can put right."""
    return {name.kind for name in check(file, CHECKS) if name.fix}


def test_the_check_of_the_fixed_file_finds_no_more_of_it(tmp_path: Path) -> None:
    file = planted(tmp_path)
    assert fixable(file) == FIXABLE
    fix(load_task(file))
    text = file.read_text(encoding="utf-8").replace(
        "examples: rows.jsonl", "examples: rows.fixed.jsonl"
    )
    file.write_text(text, encoding="utf-8")
    assert not fixable(file)
    assert undo(load_task(file), ["r10"]).files.fixed_file == tmp_path / "rows.fixed.jsonl"
    assert fixable(file) == {"encoding", "privacy_email", "privacy_card"}


def test_what_was_taken_back_stays_so_and_only_chooses_kinds(tmp_path: Path) -> None:
    task = load_task(planted(tmp_path))
    fix(task)
    assert undo(task, ["r11"]).counts["repeated_input"] == 0
    assert fix(task).counts["repeated_input"] == 0
    only = fix(task, ["encoding"])
    assert set(only.counts) == {"encoding"}
    assert only.restored == {"privacy_email": 2, "privacy_card": 1, "empty": 1, "test_overlap": 1}
    assert fix(task).counts["repeated_input"] == 0
    with pytest.raises(InputError, match="contradiction"):
        fix(task, ["contradiction"])


def test_only_accepts_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = planted(tmp_path)
    assert main(["check", str(file), "--fix", "--only", "privacy_*"]) == 0
    output = capsys.readouterr().out
    assert "privacy_email: 2 rows" in output
    assert "encoding" not in output
    assert main(["check", str(file), "--fix", "--only", "style_*"]) == 2


def test_of_equal_rows_the_one_taken_back_stays_so_when_the_file_is_edited(tmp_path: Path) -> None:
    texts = ["plain", "x <br>y", "more", "x <br>y", "last", "least"]
    content = "".join(json.dumps({"input": text, "output": "ok"}) + "\n" for text in texts).encode()
    task = load_task(task_of(tmp_path, content))
    rows = task.examples.file
    first = fix(task, ["markup"])
    assert len(first.log.changes) == 2
    undo(task, [f"rows.jsonl:{first.log.changes[1].line}"])
    rows.write_bytes(b'{"input": "new", "output": "ok"}\n' + rows.read_bytes())
    again = fix(task, ["markup"]).log
    assert again.undone == {1}
    assert [change.line for change in again.active] == [first.log.changes[0].line + 1]


def test_tables_and_lines_of_one_name_have_a_log_and_a_key_each(tmp_path: Path) -> None:
    rows = [row(1, DEFECTS[2], "ok"), row(2, "plain", "ok")]
    name = fix(load_task(task_of(tmp_path, lines(rows))))
    rows[0]["input"] = "Mail joe@wombat-mail.com"
    (tmp_path / "rows.csv").touch(mode=0o600)
    two = fix(load_task(task_of(tmp_path, table(rows), "rows.csv")))
    assert (
        len({name.files.source, name.files.log, name.files.key, two.files.log, two.files.key}) == 5
    )
    assert read_log(name.files.log) is not None
    assert stat.S_IMODE(two.files.fixed_file.stat().st_mode) == 0o600
    two.files.log.write_bytes(name.files.log.read_bytes())
    with pytest.raises(InputError, match=r"of another file, rows\.jsonl"):
        fix(load_task(tmp_path / "task.yaml"))
    two.files.key.write_text("{")
    two.files.log.unlink()
    two.files.fixed_file.unlink()
    assert main(["check", str(tmp_path / "task.yaml"), "--fix"]) == 2


LABELLED = {
    "id_number": ("Passport number {} is mine.", "S5494222"),
    "password": ("The password: {} opens it.", "Wo\\mbat-77x"),
    "phone": ("Call me on {}, please.", "94 72 79 16"),
    "card": ("My card number: {}", "4111 1111 1111 1112"),
}
"""Kind -> a text that tells of a value, and the value."""


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("nested", [True, False])
def test_a_value_is_replaced_wherever_it_is_taught_and_by_the_same(
    kind: str, nested: bool, tmp_path: Path
) -> None:
    """In the record of the same row, also as a number without its spaces, and in a row that has no
    label for it.
    """
    text, value = LABELLED[kind]
    number = re.sub(" ", "", value)
    records: list[dict[str, object]] = [
        {"no": 12},
        {"of": {"document": int(number) if number.isdigit() else value, "also": [value]}, "n": 1},
        *({"no": place} for place in range(4)),
    ]
    question = [
        f"Is {value} in it?",
        text.format(value),
        *(f"plain row {place}" for place in range(4)),
    ]
    rows = [
        {**row(place, question[place], ""), "output": record if nested else json.dumps(record)}
        for place, record in enumerate(records)
    ]
    file = task_of(
        tmp_path, (lines if nested else table)(rows), "rows.jsonl" if nested else "rows.csv"
    )
    file.write_text(file.read_text().replace("kind: answer", "kind: extract"))
    result = fix(load_task(file))
    assert result.counts == {f"privacy_{kind}": 2}
    fixed_rows = plain(result.files.fixed_file.read_text(encoding="utf-8-sig"))
    assert plain(value) not in fixed_rows
    assert fixed_rows.count(plain(Masker.load_key(result.files.key).surrogate(kind, value))) == 4


def test_a_password_that_is_a_word_is_replaced_beside_its_label_alone(tmp_path: Path) -> None:
    text = "PASSWORD=monkey\nUSER=monkey"
    result = fix(load_task(task_of(tmp_path, lines([row(1, text, "No monkey, please.")]))))
    (fixed_rows,) = map(json.loads, result.files.fixed_file.read_text().splitlines())
    assert "PASSWORD=monkey" not in fixed_rows["input"]
    assert fixed_rows["input"].endswith("\nUSER=monkey")
    assert fixed_rows["output"] == "No monkey, please."


@pytest.mark.parametrize("write", [lines, table])
def test_no_real_value_stays_in_a_column_that_is_not_taught(write: object, tmp_path: Path) -> None:
    """Its own value, one of the same row, and one that only the name of the column tells; a time of
    a call is none.
    """
    output = ["Write to jo.doe@wombat-mail.com, please.", "Where is it?", "Is it open?", "And now?"]
    rows = [
        {**row(number, text, f"Yes, {number}."), "phone": 0, "meta": "", "called_at": 1732579200}
        for number, text in enumerate(output)
    ]
    rows[0]["meta"] = "from JO.DOE@wombat-mail.com"
    rows[1]["more"] = "amy@wombat-mail.com"
    rows[2]["phone"] = 5551234
    rows[3]["called_at"] = "call me on 9472 7916"
    names = list(rows[0])
    out = io.StringIO(newline="")
    csv.writer(out).writerows([names, *(row.values() for row in rows)])
    content, name = (
        (lines(rows), "rows.jsonl") if write is lines else (out.getvalue().encode(), "rows.csv")
    )
    task = load_task(task_of(tmp_path, content, name))
    result = fix(task)
    assert result.counts == {"privacy_email": 2, "privacy_phone": 2}
    fixed_rows = result.files.fixed_file.read_text(encoding="utf-8").casefold()
    assert "wombat" not in fixed_rows
    assert "5551234" not in fixed_rows
    assert "9472 7916" not in fixed_rows
    assert fixed_rows.count("1732579200") == 3
    masker = Masker.load_key(result.files.key)
    assert fixed_rows.count(masker.surrogate("email", "jo.doe@wombat-mail.com").casefold()) == 2
    again = load_task(task_of(tmp_path / "again", result.files.fixed_file.read_bytes(), name))
    assert not fix(again, ["privacy_card"]).has_written
    undo(task, ["all"])
    assert result.files.fixed_file.read_bytes() == content


def test_chats_of_sharegpt_are_masked_and_their_system_messages_left(tmp_path: Path) -> None:
    """A mail's `from` beside them is an address and no role."""
    talk = [
        {"from": "system", "value": "Our desk: amy@wombat-mail.com"},
        {"from": "human", "value": "Write to jo.doe@wombat-mail.com"},
        {"from": "gpt", "value": "Done."},
    ]
    rows = [{"conversations": talk, "mail": {"from": "jo.doe@wombat-mail.com", "value": 3}}]
    result = fix(load_task(task_of(tmp_path, lines([*rows, {"conversations": talk[1:]}]))))
    fixed_rows = result.files.fixed_file.read_text(encoding="utf-8")
    assert result.counts == {"privacy_email": 2}
    assert "amy@wombat-mail.com" in fixed_rows
    assert "jo.doe" not in fixed_rows


def test_a_key_of_a_record_and_a_number_of_a_column_with_gaps_are_masked_where_they_stand(
    tmp_path: Path,
) -> None:
    rows: list[dict[str, object]] = [
        {
            **row(0, "Ask jo.doe@wombat-mail.com", "Yes."),
            "more": {"n": [{"jo.doe@wombat-mail.com": 3}]},
        },
        {**row(1, "Where is it?", "Here."), "phone": 4155552671.0, "seats": 12.0},
    ]
    result = fix(load_task(task_of(tmp_path, lines(rows))))
    assert result.counts == {"privacy_email": 1, "privacy_phone": 1}
    first, second = map(
        json.loads, filter(bytes.strip, result.files.fixed_file.read_bytes().splitlines())
    )
    masker = Masker.load_key(result.files.key)
    assert first["more"] == {"n": [{masker.surrogate("email", "jo.doe@wombat-mail.com"): 3}]}
    assert second["phone"] == float(masker.surrogate("phone", "4155552671")) != 4155552671.0
    assert second["seats"] == 12.0
    undo(tmp_path / "task.yaml", ["r0"])
    assert json.loads(result.files.fixed_file.read_bytes().splitlines()[0]) == rows[0]


def test_what_looks_like_a_value_in_a_surrogate_is_not_masked_again(tmp_path: Path) -> None:
    rows = [
        row(0, "Call me on 9017 7867 4394 8726, or 415-555-2671.", "Yes."),
        row(1, "Where?", "Here."),
    ]
    task = load_task(task_of(tmp_path, lines(rows)))
    for known, kept_lines in (((), False), (("9017 7867 4394 8726",), True)):
        (change,) = plan_changes(task, lambda _: True, Masker(b"key"), known).changes
        assert ("9017 7867 4394 8726" in str(change.after)) == kept_lines
        assert "415-555-2671" not in str(change.after)


def plain(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def test_a_file_that_is_not_ours_or_was_changed_is_not_overwritten(tmp_path: Path) -> None:
    task = load_task(planted(tmp_path))
    files = FixFiles(task.examples.file)
    files.fixed_file.write_text("mine")
    with pytest.raises(InputError, match="Étude did not write it"):
        fix(task)
    files.fixed_file.unlink()
    fix(task)
    files.fixed_file.write_bytes(files.fixed_file.read_bytes() + b"\n")
    with pytest.raises(InputError, match="changed after"):
        undo(task, ["all"])
    assert files.fixed_file.read_bytes().endswith(b"\n\n")


def test_a_kill_between_log_and_rows_leaves_the_old_rows_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    task = load_task(planted(tmp_path))
    files = FixFiles(task.examples.file)
    fix(task)
    before = files.fixed_file.read_bytes()
    undo(task, ["r11"])
    after = files.fixed_file.read_bytes()
    assert after != before
    files.fixed_file.write_bytes(before)  # as the kill has left it: the new log, the old rows
    assert fix(task).files.fixed_file.read_bytes() == after
    files.fixed_file.unlink()
    assert fix(task).files.fixed_file.read_bytes() == after


def test_a_disk_error_is_reported_and_leaves_the_old_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = planted(tmp_path)
    (tmp_path / "rows.fixed.jsonl.part").mkdir()
    assert main(["check", str(file), "--fix"]) == 2
    assert "rows.fixed.jsonl.part" in capsys.readouterr().err
    assert not (tmp_path / "rows.fixed.jsonl").exists()
    assert not (tmp_path / "rows.fixed.jsonl.key.json").exists()
    (tmp_path / "rows.fixed.jsonl.part").rmdir()
    assert main(["check", str(file), "--fix"]) == 0


def test_the_command_prints_the_changes_and_the_line_for_the_task_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = planted(tmp_path)
    assert main(["check", str(file), "--fix"]) == 0
    output = capsys.readouterr().out
    assert "examples: rows.fixed.jsonl" in output
    log = read_log(tmp_path / "rows.fixed.jsonl.log.jsonl")
    assert f"--undo rows.jsonl:{log.changes[0].line}" in output
    assert main(["check", str(file), "--undo", "rows.jsonl:999"]) == 2
    assert main(["check", str(file), "--undo", f"rows.jsonl:{log.changes[0].line}"]) == 0
    assert "1 change undone" in capsys.readouterr().out


def test_a_task_file_may_be_given_by_its_path_and_a_column_keeps_its_form(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "body,reply\nWho? Mail ann@example.org,She.\n", encoding="utf-8"
    )
    source = "examples: {file: rows.csv, input: body, output: reply}"
    file = tmp_path / "task.yaml"
    file.write_text(f"name: t\nkind: answer\nmodel: fake\n{source}\n", encoding="utf-8")
    assert fix(file).has_written
    line = format_source_line(load_task(file), tmp_path / "rows.fixed.csv")
    assert line == source.replace("rows", "rows.fixed")
    assert undo(str(file), ["all"]).has_written


def test_a_fix_says_what_it_leaves_in_system_messages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, mail in enumerate(("jo@example.org", "nobody")):
        folder = tmp_path / str(number)
        folder.mkdir()
        turns = [
            ("system", f"Send complaints to {mail}."),
            ("user", "Hello"),
            ("assistant", "Good day"),
        ]
        row = {"messages": [{"role": role, "content": text} for role, text in turns]}
        (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "task.yaml").write_text(
            "name: t\nkind: answer\nmodel: fake\nexamples: rows.jsonl\n"
        )
        fix_examples(folder / "task.yaml", [])
        assert ("Not changed" in capsys.readouterr().out) == ("@" in mail)


def test_a_fix_reports_what_it_does_not_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = row(
        1, "Mr. John Smith wrote to jo@wombat-mail.com.", "He lives at 12 Baker Street, London."
    )
    file = task_of(tmp_path, lines([named, row(2, "Ask", "It is.")]))
    fix_examples(file, [])
    assert "Not masked" in (output := capsys.readouterr().out)
    assert "a person's name in 1 row" in output
    assert "a postal address in 1 row" in output
    fix_examples(file, ["encoding"])
    assert "Not masked" not in capsys.readouterr().out


def test_a_list_of_objects_is_not_written_and_the_way_out_is_named(tmp_path: Path) -> None:
    rows = [
        {"input": f"question {n}", "output": "n/a" if n == 3 else f"answer {n}"} for n in range(9)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "task.yaml").write_text("name: t\nkind: answer\nmodel: fake\nexamples: rows.json\n")
    with pytest.raises(InputError, match=re.escape("jq -c '.[]' rows.json > rows.jsonl")):
        fix(tmp_path / "task.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.json", "task.yaml"]


def test_the_name_of_a_rows_own_address_is_masked_through_the_row(tmp_path: Path) -> None:
    asked = "Robert Lang here, robert.lang@mail.org: where is my parcel?"
    chats = [
        row(1, asked, "Dear Mr Lang, it left. The lang way."),
        row(2, "Who is Robert Lang?", "A customer."),
    ]
    fixed = fix(load_task(task_of(tmp_path, lines(chats)))).files.fixed_file
    first, second = read_rows(RowSource(fixed, ("input",), "output")).examples
    assert not re.search("Robert|Lang|robert", first.text + first.output)
    assert first.output.endswith(", it left. The lang way.")
    assert second.text == "Who is Robert Lang?"  # only through the row that has the address
