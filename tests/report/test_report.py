"""The report: complete, safe to open, small, and readable in every browser window."""

import html
import html.parser
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrast import contrast
from etude.base.formatting import format_interval, format_percent
from etude.base.pages import read_asset
from etude.errors import RunError
from etude.report import phrasing as words
from etude.report import pictures, read_report, write_report
from etude.report.markdown import escape, render_interval
from etude.stats import estimate, estimate_sample, make_label_sample
from etude.types import Estimate
from real_runs import SHORT, real_run
from run_folder import METHODS, SEALED, write_run_folder
from small_task import KINDS

SPICE = (
    " <script>alert(1)</script> </script><!-- <img src=x onerror=alert(2)> & | `x` ``` \u2028 '\""
)


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and the text inside each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.shown: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open != "style":
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())

    @property
    def rows(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


def written(folder: Path, **options: Any) -> tuple[Page, str]:
    page, text = write_report(write_run_folder(folder, **options))
    return Page(page.read_text(encoding="utf-8")), text.read_text(encoding="utf-8")


def shown(run: Path) -> tuple[Page, str]:
    """Both reports of a run, as they were written."""
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    return page, (run / "report.md").read_text(encoding="utf-8")


def predictions(folder: Path, method: str, side: str) -> list[dict[str, Any]]:
    lines = (
        (folder / "methods" / method / "predictions.jsonl")
        .read_text(encoding="utf-8")
        .split("\n")[:-1]
    )
    return [line for line in map(json.loads, lines) if line["side"] == side]


# What is shown


def test_the_made_up_folder_has_the_keys_of_a_real_one(tmp_path: Path) -> None:
    made = write_run_folder(tmp_path)
    real = real_run(more="target: 0.9\n")
    both = [set(json.loads((run / "run.json").read_text(encoding="utf-8"))) for run in (made, real)]
    assert both[0] == both[1]
    parts = [json.loads((run / "verdict.json").read_text(encoding="utf-8")) for run in (made, real)]
    for key in (None, "headline", "target", "test_rows", "break_even"):
        assert set(parts[0][key] if key else parts[0]) == set(parts[1][key] if key else parts[1])
    for name in METHODS:
        records = [
            json.loads((run / "methods" / name / "method.json").read_text(encoding="utf-8"))
            for run in (made, real)
        ]
        assert set(records[0]) >= set(records[1])
        lines = [predictions(run, name, "test")[0] for run in (made, real)]
        assert set(lines[0]) == set(lines[1])
        assert set(lines[0]["other_metrics"]) == set(lines[1]["other_metrics"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_the_ladder_is_the_verdicts(kind: str) -> None:
    page, text = shown(real_run(kind))
    verdict = json.loads((real_run(kind) / "verdict.json").read_text(encoding="utf-8"))
    for rung in verdict["ladder"]:
        interval = Estimate(**rung["estimate"])
        assert words.format_estimate(interval) in page.text + json.dumps(
            page.elements, ensure_ascii=False
        )
        for part in (format_percent(interval.value), format_interval(interval), rung["status"]):
            assert part in page.text
            assert part in text
    earned = verdict["break_even"]
    assert (earned is None) == (verdict["headline"]["difference"]["high"] < 0)
    for sentence in (
        verdict["sentence"],
        *verdict["caveats"],
        *([earned["text"]] if earned else []),
    ):
        assert sentence in page.text
        assert escape(sentence) in text


def test_the_page_has_every_section_and_the_markdown_those_of_a_pull_request(
    tmp_path: Path,
) -> None:
    page, text = written(tmp_path)
    titles = (
        "The ladder",
        "Results by tag",
        "Failures by kind",
        "Training",
        "Prompts, word for word",
        "Data",
    )
    for title in (
        *titles,
        "What this test can show",
        "What there was time for",
        "Findings",
        "Notes",
        "Reproduce",
    ):
        assert title in page.text
    headings = ["Advice", "The ladder", "What a request costs", "Notes"]
    assert re.findall(r"^#{2,} (.*)$", text, re.M) == headings
    assert "Everything else is in report.html" in text.splitlines()[-1]


def test_both_files_have_the_notes_and_the_openings(tmp_path: Path) -> None:
    page, text = written(tmp_path)
    for note in (
        "14 near-duplicates were kept on one side.",
        "documents: not used yet",
        "Rank 16 on all linear layers.",
        "The run took 14 min of a budget of 15 min.",
        "The test has been opened 2 times",
    ):
        assert note in page.text
        assert note in text


def test_dev_estimates_are_those_of_the_statistics() -> None:
    run = real_run()
    page, _ = shown(run)
    for rung in read_report(run).methods:
        lines = predictions(run, rung.name, "dev")
        assert rung.dev == estimate(
            [line["score"] for line in lines], [line["unit"] for line in lines]
        )
        dev = f"{format_percent(rung.dev.value)} {format_interval(rung.dev)} {rung.dev.n}"
        assert f"{rung.label} {dev}" in page.text
        assert rung.num_dev == len(lines)
        assert rung.num_truncated_dev == sum(line["truncated"] for line in lines)
        for kind, count in rung.failures.items():
            assert count == sum(kind in line["failures"] for line in lines)


def test_macro_f1_on_dev_is_macro_f1() -> None:
    run = real_run("classify", more="metric: macro_f1\n")
    for rung in read_report(run).methods:
        lines = predictions(run, rung.name, "dev")
        sample = make_label_sample(
            [line["expected"].strip() for line in lines],
            [line["answer"] for line in lines],
            [line["unit"] for line in lines],
        )
        assert rung.dev == estimate_sample(sample)


def test_no_text_of_a_test_row_is_shown(tmp_path: Path) -> None:
    page, text = write_report(write_run_folder(tmp_path))
    for file in (page, text):
        content = file.read_text(encoding="utf-8")
        assert SEALED.strip() not in content
        assert not re.search(r"test-\d{4}", content.replace("\\-", "-"))


def test_of_two_trainings_in_one_log_the_last_is_drawn(tmp_path: Path) -> None:
    """As `prefer` leaves one that trains the examples first."""
    write_run_folder(tmp_path)
    first = [{"epoch": 0, "dev_loss": 3.0, "best": True}, {"step": 9, "epoch": 1, "loss": 2.0}]
    first += [{"epoch": 1, "dev_loss": 1.5, "best": True}]
    last = [{"epoch": 0, "dev_loss": 0.9, "best": True}, {"step": 2, "epoch": 1, "loss": 0.6}]
    last += [{"epoch": 1, "dev_loss": 0.7, "best": True}, {"warning": "w"}]
    lines = "".join(json.dumps(line) + "\n" for line in first + last)
    (tmp_path / "methods" / "fine_tune" / "train.jsonl").write_text(lines, encoding="utf-8")
    curve = read_report(tmp_path).curve
    assert curve.method == "fine_tune"
    assert curve.steps == ((2, 0.6),)
    assert [(epoch.step, epoch.best) for epoch in curve.epochs] == [
        (0, False),
        (2, True),
    ]  # the last best
    lines = "".join(
        json.dumps(line) + "\n" for line in [*first, last[0]]
    )  # stopped before the second began
    (tmp_path / "methods" / "fine_tune" / "train.jsonl").write_text(lines, encoding="utf-8")
    stopped = read_report(tmp_path).curve
    assert stopped.steps == ((9, 2.0),)


def test_the_table_of_epochs_tells_the_metric_it_was_chosen_by_and_what_overfits(
    tmp_path: Path,
) -> None:
    write_run_folder(tmp_path)
    measured = {"score": 0.25, "low": 0.1, "high": 0.4, "n": 40}
    log = [
        {"epoch": 0, "dev_loss": 2.0, "best": True, **measured},
        {"step": 1, "epoch": 1, "loss": 1.0},
        {
            "epoch": 1,
            "dev_loss": 2.5,
            "train_loss": 1.0,
            "overfits": True,
            "best": True,
            **measured,
        },
    ]
    lines = "".join(json.dumps(line) + "\n" for line in log)
    (tmp_path / "methods" / "fine_tune" / "train.jsonl").write_text(lines, encoding="utf-8")
    write_report(tmp_path)
    head = "Loss on dev Metric on dev State"
    score = "25.0% (10.0 to 40.0, n = 40)"
    rows = f"0 0 2.000 {score} before training 1 1 1.000 2.500 {score} kept, overfits"
    assert f"Epoch After step Loss in training {head} {rows}" in shown(tmp_path)[0].text


@pytest.mark.parametrize(
    ("num", "budget", "told"),
    [(150, None, "on 50 test rows,"), (700, SHORT, "on 12 to 140 test rows (column n),")],
)
def test_a_test_that_was_answered_in_part_says_so(
    num: int, budget: float | None, told: str
) -> None:
    page, text = shown(real_run(num=num, budget=budget))
    assert told in page.text
    assert told in text


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("classify", ["macro-F1 over the labels"]),
        ("extract", ["share of right fields"]),
        (
            "answer",
            ["share of answers equal to the expected one", "chrF, likeness to the expected answer"],
        ),
    ],
)
def test_other_measures_are_shown_with_their_intervals(kind: str, labels: list[str]) -> None:
    run = real_run(kind)
    page, _ = shown(run)
    others = json.loads((run / "verdict.json").read_text(encoding="utf-8"))["other_metrics"]
    for label in labels:
        assert words.capitalize(label) in page.text
    for found in others.values():
        for estimate_ in found.values():
            told = words.format_estimate(Estimate(**estimate_))
            assert told.replace("\xa0", " ") in page.text.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("kind", "told"), [("answer", "only the first sentence of"), ("classify", "no instructions;")]
)
def test_the_prompts_say_what_fine_tuning_does_to_the_instructions(kind: str, told: str) -> None:
    page, _ = shown(real_run(kind))
    assert f"The fine-tuned model's prompt contains {told}" in page.text
    page, _ = shown(real_run(kind, more="methods: [baseline, prompt]\n"))
    assert "The fine-tuned model's prompt" not in page.text


@pytest.mark.parametrize("kind", KINDS)
def test_no_fact_is_shown_without_its_value_and_no_mark_of_markdown_in_the_page(kind: str) -> None:
    page, text = shown(real_run(kind))
    assert not re.search(r"^- [^:\n]*: *$", text, re.M)
    source = (real_run(kind) / "report.html").read_text(encoding="utf-8")
    assert "<dd>" in source
    assert not re.search(r"<dd>\s*(<span class=.none|</dd>)", source)
    assert "`" not in page.text
    assert "etude check TASK also finds labels that look wrong" in page.text
    assert "etude check TASK also finds labels that look wrong" in text


# Runs that are not complete


@pytest.mark.parametrize("count", range(len(METHODS)))
def test_a_partial_run_says_so_and_shows_what_is_there(tmp_path: Path, count: int) -> None:
    page, text = written(tmp_path, status="interrupted", finished=METHODS[:count])
    for shown in (page.text, text):
        assert "Interrupted." in shown
        assert "No verdict yet." in shown
    assert len(page.rows["methods"]) == count
    assert len(page.rows["rows"]) == (120 if count else 0)


def test_a_run_that_has_only_begun_can_be_shown(tmp_path: Path) -> None:
    run = {"format": 1, "name": "luma", "status": "running"}
    (tmp_path / "run.json").write_text(json.dumps(run), encoding="utf-8")
    page, text = write_report(tmp_path)
    assert "No method has answered yet." in page.read_text(encoding="utf-8")
    assert "No method has answered yet." in text.read_text(encoding="utf-8")


def test_a_verdict_without_its_optional_parts_can_be_shown(tmp_path: Path) -> None:
    write_run_folder(tmp_path)
    file = tmp_path / "verdict.json"
    verdict = json.loads(file.read_text(encoding="utf-8"))
    for key in ("headline", "target", "recommended", "break_even", "critical"):
        verdict[key] = None
    for key in ("caveats", "advice", "pairs", "by_tag"):
        verdict[key] = []
    for name in METHODS:
        verdict["contract_rates"][name] |= {"keeps_contract": None, "passes_check": None}
        verdict["costs"][name]["price"] = None
    file.write_text(json.dumps(verdict), encoding="utf-8")
    page, text = write_report(tmp_path)
    assert verdict["sentence"] in page.read_text(encoding="utf-8")
    assert "None" not in Page(page.read_text(encoding="utf-8")).text
    assert "None" not in text.read_text(encoding="utf-8").replace("None.", "")


def test_the_method_to_use_has_one_badge_whether_or_not_it_reaches_the_target(
    tmp_path: Path,
) -> None:
    write_run_folder(tmp_path)
    file = tmp_path / "verdict.json"
    verdict = json.loads(file.read_text(encoding="utf-8"))
    for target in (0.001, 0.999):
        verdict["target"]["target"] = target
        file.write_text(json.dumps(verdict), encoding="utf-8")
        page, text = write_report(tmp_path)
        assert re.findall(r'pill strong">([\w ]+)<', page.read_text(encoding="utf-8")) == [
            "best today"
        ]
        assert "Recommended: **" in text.read_text(encoding="utf-8")
        headline = Page(page.read_text(encoding="utf-8")).text
        assert ("Ready: yes." in headline) == (target < 0.5)
        assert ("Ready: not yet, because the score is below the 99.9% target." in headline) == (
            target > 0.5
        )


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=re.escape(str(tmp_path))):
        write_report(tmp_path)


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_aside(tmp_path: Path) -> None:
    first = [file.read_bytes() for file in write_report(write_run_folder(tmp_path))]
    assert [file.read_bytes() for file in write_report(tmp_path)] == first
    assert not list(tmp_path.rglob("*.part"))


# Safe to open


def test_texts_of_users_never_become_markup(tmp_path: Path) -> None:
    plain, _ = written(tmp_path / "plain")
    spiced, text = written(tmp_path / "spiced", spice=SPICE)
    assert [tag for tag, _ in spiced.elements] == [tag for tag, _ in plain.elements]
    assert all(
        set(a) == set(b) for (_, a), (_, b) in zip(spiced.elements, plain.elements, strict=True)
    )
    assert "<script" not in text
    assert "<img" not in text


def failed(line: dict[str, Any]) -> list[str]:
    """What an answer fails: the contract, else the check alone."""
    return line["failures"] or (["check"] if line["check"] == 0 else [])


def told_failures(line: dict[str, Any]) -> list[str]:
    """All that is said of an answer: what it fails, and that it was cut."""
    return failed(line) + (["cut at the length limit"] if line["truncated"] else [])


def test_an_answer_that_only_the_check_refuses_is_counted_as_a_failure_of_its_own_kind(
    tmp_path: Path,
) -> None:
    page, _ = written(tmp_path)
    report = read_report(tmp_path)
    labels = " ".join(attributes.get("aria-label") or "" for _, attributes in page.elements)
    for rung in report.methods:
        lines = predictions(tmp_path, rung.name, "dev")
        refused = {line["id"] for line in lines if failed(line) == ["check"]}
        assert refused
        assert not any(line["failures"] for line in lines if line["id"] in refused)
        assert rung.failures["check"] == len(refused)
        answers = [row[rung.name] for row in report.dev]
        assert {answer["id"] for answer in answers if answer["failed"] == ("check",)} == refused
        assert f"check: {len(refused)} of 120 dev rows, {rung.label}" in labels
    assert "the check function returned 0" in page.text


def test_rows_reach_the_page_unchanged(tmp_path: Path) -> None:
    page, _ = written(tmp_path, spice=SPICE)
    data = page.rows
    by_id = {line["id"]: line for line in predictions(tmp_path, "fine_tune", "dev")}
    at = [name for name, _ in data["methods"]].index("fine_tune")
    assert {row[0] for row in data["rows"]} == set(by_id)
    for row_id, asked, wanted, tags, answers in data["rows"]:
        line = by_id[row_id]
        text, score, failures = answers[at]
        assert [data["texts"][place] for place in (asked, wanted, text)] == [
            line["input"],
            line["expected"],
            line["answer"],
        ]
        assert {data["texts"][tag]: data["texts"][value] for tag, value in tags} == line["tags"]
        assert [data["failures"][place] for place in failures] == told_failures(line)
        assert score == line["score"]


def test_the_page_asks_nothing_of_anyone(tmp_path: Path) -> None:
    page, _ = written(tmp_path)
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "style", "srcset", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "url(" not in source
    assert "@import" not in source
    assert not re.search(r"https?://", source)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_text_in_a_table_stays_in_its_cell(text: str) -> None:
    shown = escape(text)
    assert len(f"| {shown} |".splitlines()) == 1 or not re.search(r"[\r\n]", shown)
    assert not re.search(r"(?<!\\)(\\\\)*\|", shown)
    assert "<" not in shown.replace("<br>", "")


def test_all_tables_of_the_markdown_are_rectangular(tmp_path: Path) -> None:
    _, text = written(tmp_path, spice=SPICE)
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    assert len(tables) == 2
    for lines in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()}
        assert len(widths) == 1, lines


# Small


@pytest.mark.parametrize("long_answers", [300, 3_000])
def test_a_thousand_rows_of_five_methods_stay_small(tmp_path: Path, long_answers: int) -> None:
    page, text = write_report(
        write_run_folder(tmp_path, dev=1000, test=10, long_answers=long_answers)
    )
    assert page.stat().st_size < 3_000_000
    assert text.stat().st_size < 200_000


def test_a_text_that_was_cut_says_where_the_rest_is(tmp_path: Path) -> None:
    page, _ = written(tmp_path, long_answers=20_000)
    cut = [text for text in page.rows["texts"] if "more characters in predictions.jsonl]" in text]
    assert len({len(text.partition("\u2026 [")[0]) for text in cut}) == 1
    remaining, _, rest = cut[0].partition("\u2026 [")
    whole = [line["answer"] for name in METHODS for line in predictions(tmp_path, name, "dev")]
    left = int(rest.split()[0].replace(",", ""))
    assert any(text.startswith(remaining) and len(text) == len(remaining) + left for text in whole)


# Words and pictures


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 s"),
        (0.0008, "0.8 ms"),
        (0.55, "0.55 s"),
        (96, "96 s"),
        (412.5, "6.9 min"),
        (7_560, "2.1 h"),
    ],
)
def test_times_are_written_in_the_unit_that_reads_best(value: float, shown: str) -> None:
    assert words.format_seconds(value) == shown


@given(st.floats(1e-9, 1e9))
def test_numbers_keep_three_digits_and_no_exponent(value: float) -> None:
    ((_, text),) = words.list_items({"value": value})
    assert float(text.replace(",", "")) == pytest.approx(value, rel=5e-3)
    assert "e" not in text


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_an_axis_holds_its_values_between_its_ticks(values: list[float]) -> None:
    axis = pictures.make_axis(values)
    little = 1e-6 * (axis.high - axis.low)
    assert axis.low - little <= min(values)
    assert max(values) <= axis.high + little
    assert 2 <= len(axis.ticks) <= 9
    assert len({f"{tick:.4g}" for tick in axis.ticks}) == len(axis.ticks)
    places = [float(axis.position(value)[:-1]) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted))
def test_the_picture_of_an_interval_has_one_dot_and_one_width(bounds: list[float]) -> None:
    drawn = render_interval(Estimate(bounds[1], bounds[0], bounds[2], 50))
    assert len(drawn) == 27
    assert drawn.count("●") == 1


def test_the_report_shows_what_is_learned_and_why_each_setting_has_its_value(
    tmp_path: Path,
) -> None:
    page = write_report(write_run_folder(tmp_path))[0].read_text(encoding="utf-8")
    for told in ("90,000 tokens are learned (48%)", "16 beat 8 on few rows", "set by the user"):
        assert told in page
    assert '<pre dir="auto" tabindex="0">a question<mark>an answer</mark></pre>' in page


def test_a_long_training_log_is_thinned_to_means() -> None:
    steps = [(n, float(n % 3)) for n in range(1, 10_001)]
    points, each = pictures.thin_steps(steps)
    assert len(points) <= pictures.MAX_POINTS
    assert each == 25
    assert sum(loss for _, loss in points) / len(points) == pytest.approx(
        sum(v for _, v in steps) / 10_000
    )


def test_text_has_enough_contrast_in_light_and_dark() -> None:
    css = read_asset("report.css")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in css.split(":root {")[1:3]
    )
    for colours in (light, light | dark):
        for paper in ("paper", "card", "faint", "accent-soft", "worse-soft"):
            for ink in ("ink", "soft", "accent", "good", "worse", "open"):
                assert contrast(colours[ink], colours[paper]) >= 4.5, (
                    ink,
                    paper,
                    colours[ink],
                    colours[paper],
                )
        assert contrast(colours["paper"], colours["accent"]) >= 4.5


# In a real browser


def dom(file: Path, hash_: str, profile: Path) -> str:
    """The page as a headless Chromium has it after its script ran."""
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        pytest.skip("no Chromium, so the page's script is not run; to run: install chromium")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += (
        " --disable-background-networking --disable-component-update --allow-file-access-from-files"
    )
    command = [
        browser,
        *flags.split(),
        f"--user-data-dir={profile}",
        "--dump-dom",
        f"file://{file}{hash_}",
    ]
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode()


def test_a_row_without_an_id_is_named_by_its_line(tmp_path: Path) -> None:
    write_run_folder(tmp_path)
    for name in METHODS:
        file = tmp_path / "methods" / name / "predictions.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for place, line in enumerate(lines):
            hashed = {"id": f"{place:012x}", "location": f"rows.csv:{place + 2}"}
            line |= hashed if place % 2 else {"location": f"rows.csv:{place + 2}"}
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    page, _ = write_report(tmp_path)
    named = [row[0] for row in Page(page.read_text(encoding="utf-8")).rows["rows"]]
    assert set(named[::2]) <= {line["id"] for line in lines}
    assert all(name.startswith("rows.csv:") for name in named[1::2])


def graded_run(folder: Path) -> list[tuple[str, float]]:
    """A run under chrF; dev rows with how much tuning raised each: nothing, less than the margin,
    or more.
    """
    write_run_folder(folder)
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    info["metric"] |= {"name": "chrf", "label": "chrF, likeness to the expected answer"}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    changes = [0.0, 0.004, 0.02, -0.019, -0.3]
    for name in METHODS:
        file = folder / "methods" / name / "predictions.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for place, line in enumerate(lines):
            line |= {
                "score": 0.5 + (changes[place % 5] if name == "fine_tune" else 0),
                "failures": [],
            }
            line |= {"check": None, "cut": False}
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    ids = [line["id"] for line in predictions(folder, "fine_tune", "dev")]
    return [(row, changes[place % 5]) for place, row in enumerate(ids)]


def test_graded_rows_are_higher_or_lower_from_the_margin_on(tmp_path: Path) -> None:
    graded_run(tmp_path)
    page = Page(write_report(tmp_path)[0].read_text(encoding="utf-8"))
    assert page.rows["least"] == 0.02
    for told in (
        "Higher with tuning",
        "Lower with tuning",
        "rows whose score changed by at least the margin of 2 points",
        "so there is no count of wrong answers here",
    ):
        assert told in page.text
    assert "Fixed by" not in page.text
    assert "Broken by" not in page.text


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "sign", "told"), [("fixed", 1, "Higher"), ("broken", -1, "Lower")]
)
def test_the_page_filters_graded_rows_by_the_margin(
    tmp_path: Path, name: str, sign: int, told: str
) -> None:
    rows = graded_run(tmp_path / "run")
    file, _ = write_report(tmp_path / "run")
    text = dom(file, f"#filter={name}", tmp_path / "profile")
    turned = [row for row, change in rows if sign * change >= 0.02]
    assert 0 < len(turned) < sum(sign * change > 0 for _, change in rows)
    assert re.findall(r"<code>(dev-\d+)</code>", text) == turned[:5]
    assert re.search(rf"<i>{told} with tuning</i> <b>{len(turned)}</b>", text)


def test_wrong_answers_that_keep_the_contract_are_failures_too(tmp_path: Path) -> None:
    graded_run(tmp_path)
    info = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    info["kind"] = "extract"
    info["metric"]["name"] = "exact_match"
    (tmp_path / "run.json").write_text(json.dumps(info), encoding="utf-8")
    file = tmp_path / "methods" / "prompt" / "predictions.jsonl"
    lines = [
        json.loads(line) | {"score": 0.0} for line in file.read_text(encoding="utf-8").splitlines()
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    page, _ = write_report(tmp_path)
    dev = sum(line["side"] == "dev" for line in lines)
    told = f"wrong value: {dev} of {dev} dev rows, The prompt as given"
    assert told in page.read_text(encoding="utf-8")


def test_every_heading_of_the_markdown_stands_alone(tmp_path: Path) -> None:
    graded_run(tmp_path)
    _, text = write_report(tmp_path)
    lines = text.read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        assert not line.startswith("#") or not before.strip(), (before, line)


DRIVER = """

const view = (d) => {
  const found = [];
  const read = () => d.querySelectorAll("#rows .row-head code")
    .forEach((code) => found.push(code.textContent));
  for (read(); !d.getElementById("pager").hidden && !d.getElementById("after").disabled; read())
    d.getElementById("after").click();
  const injected = d.querySelectorAll("#rows script, #rows img").length;
  const only = d.getElementById("only").hidden ? "" : d.getElementById("only-what").textContent;
  return { rows: found, only,
    injected, focus: d.activeElement.id || d.activeElement.value,
    pressed: [...d.querySelectorAll("[aria-pressed=true]")]
      .map((b) => [b.dataset.kind, b.dataset.method]) };
};
onload = () => {
  const d = document.querySelector("iframe").contentDocument;
  const filters = {};
  for (const input of d.querySelectorAll("input[name=filter]")) {
    input.click();
    filters[input.value] = { ...view(d), said: input.nextElementSibling.textContent };
  }
  const counts = [...d.querySelectorAll("button.failed")].map((button) => {
    button.click();
    const after = view(d);
    if (button.dataset.method === "prompt") button.click(); else d.getElementById("clear").click();
    return { kind: button.dataset.kind, method: button.dataset.method, said: button.textContent,
      label: button.getAttribute("aria-label"), disabled: button.disabled, after,
      cleared: view(d) };
  });
  p.textContent = JSON.stringify({ filters, counts });
};
"""


def driven(run: Path, folder: Path) -> dict[str, Any]:
    """What a reader sees who clicks every filter, and every count of failures in turn, each cleared
    again.
    """
    frame = folder / "frame.html"
    frame.write_text(
        f"<iframe src='{run.name}/report.html' style='width:1000px;height:800px'></iframe><pre "
        f"id=p></pre><script>{DRIVER}</script>",
        encoding="utf-8",
    )
    told = re.search(r'<pre id="p">(.*?)</pre>', dom(frame, "", folder / "profile"), re.S)
    found: dict[str, Any] = json.loads(html.unescape(told[1]))
    return found


@pytest.mark.real
def test_every_filter_and_every_count_of_failures_shows_its_rows_and_no_others(
    tmp_path: Path,
) -> None:
    write_report(write_run_folder(tmp_path / "run", dev=60, spice=SPICE))
    seen = driven(tmp_path / "run", tmp_path)
    lines = {name: predictions(tmp_path / "run", name, "dev") for name in METHODS}
    pairs = list(zip(lines["few_shot"], lines["fine_tune"], strict=True))
    expected = {
        "all": [old["id"] for old, _ in pairs],
        "fixed": [old["id"] for old, new in pairs if new["score"] > old["score"]],
        "broken": [old["id"] for old, new in pairs if new["score"] < old["score"]],
        "differs": [
            old["id"]
            for old, new in pairs
            if (new["answer"], new["score"]) != (old["answer"], old["score"])
        ],
    }
    assert {name: view["rows"] for name, view in seen["filters"].items()} == expected
    assert not any(view["injected"] for view in seen["filters"].values())
    titles = {
        "all": "All",
        "fixed": "Fixed by tuning",
        "broken": "Broken by tuning",
        "differs": "Differs",
    }
    assert {name: view["said"] for name, view in seen["filters"].items()} == {
        name: f"{titles[name]} {len(ids)}" for name, ids in expected.items()
    }
    failing = {
        (kind, name): [line["id"] for line in lines[name] if kind in told_failures(line)]
        for name in METHODS
        for kind in {kind for line in lines[name] for kind in told_failures(line)}
    }
    assert {
        (count["kind"], count["method"]): count["after"]["rows"] for count in seen["counts"]
    } == failing
    for count in seen["counts"]:
        after = count["after"]
        cleared = count["cleared"]
        assert int(count["said"]) == len(after["rows"])
        assert f"{count['kind']}: {count['said']} of {len(pairs)} dev rows" in count["label"]
        assert not count["disabled"]
        assert (after["pressed"], after["focus"]) == ([[count["kind"], count["method"]]], "clear")
        assert count["kind"] in after["only"]
        assert (cleared["pressed"], cleared["only"], cleared["rows"]) == ([], "", expected["all"])


@pytest.mark.real
def test_search_tag_methods_and_page_can_be_set_in_the_address(tmp_path: Path) -> None:
    file, _ = write_report(write_run_folder(tmp_path / "run"))
    lines = predictions(tmp_path / "run", "prompt", "dev")
    kind = "missing field: Ages"
    failed = [line["id"] for line in lines if kind in line["failures"]]
    text = dom(file, f"#left=prompt&right=prompt&q={quote(kind)}&page=2", tmp_path / "one")
    assert re.findall(r"<code>(dev-\d+)</code>", text) == failed[5:10]
    tagged = [line["id"] for line in lines if line["tags"]["theme"] == "space"]
    text = dom(file, f"#failure={quote(kind)}&by=prompt&page=2", tmp_path / "failure")
    assert re.findall(r"<code>(dev-\d+)</code>", text) == failed[5:10]
    text = dom(file, "#tag=" + quote("theme: space"), tmp_path / "two")
    assert re.findall(r"<code>(dev-\d+)</code>", text) == tagged[:5]


@pytest.mark.real
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_never_scrolls_sideways(tmp_path: Path, width: int) -> None:
    write_report(write_run_folder(tmp_path / "run", spice=SPICE + "x" * 300))
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe src='run/report.html' style='width:{width}px;height:800px;border:0'></iframe><p "
        "id=p></p><script>onload = () => { const root = "
        "document.querySelector('iframe').contentDocument.documentElement; "
        "root.querySelector('button.failed').click(); p.textContent = root.scrollWidth > "
        "root.clientWidth ? 'too wide' : 'fits'; }</script>",
        encoding="utf-8",
    )
    assert '<p id="p">fits</p>' in dom(frame, "", tmp_path / "profile")
