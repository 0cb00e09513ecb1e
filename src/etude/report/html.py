"""report.html: one self-contained page, which loads nothing.

A content security policy allows only the page's own style and script, by their hashes. Jinja2
escapes the user's texts; the rows for side-by-side reading are JSON that cannot close its own
element.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from markupsafe import Markup

from etude.base import files, pages
from etude.metrics import MEAN_ERROR
from etude.report import contents, pictures
from etude.report import phrasing as words
from etude.runs.verdict import Verdict
from etude.types import Estimate

MAX_TEXT_BYTES = 2_200_000  # bytes of row texts in a page; longer texts are cut to fit
# Characters at which texts are cut, tried in this order.
TEXT_CAPS = (20_000, 8_000, 4_000, 2_000, 1_000, 600, 400, 250, 120)
MANY_VALUES = 12  # A tag with more values than this is collapsed at first.

_HASH = re.compile(r"[0-9a-f]{12}(-\d+)?")  # the id of a row that has none of its own
GetIndex = Callable[[str], int]
_INSIDE_SCRIPT = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def render_html(report: contents.Report) -> str:
    """Render the whole page as text."""
    return pages.render_page(
        Path(__file__).parent,
        "template.html.j2",
        *("report.css", "report.js"),
        report=report,
        verdict=report.verdict,
        words=words,
        pictures=pictures,
        axis=pictures.make_ladder_axis(report),
        best=pictures.find_best_value(report),
        tags=_group_by_tag(report.verdict) if report.verdict else {},
        failures=words.count_failures(report),
        labels={method.name: method.label for method in report.methods},
        many_values=MANY_VALUES,
        mean_error=MEAN_ERROR,
        rows=Markup(encode_rows(report)),
    )


# Tag -> value -> method -> its result on the test.
def _group_by_tag(verdict: Verdict) -> dict[str, dict[str, dict[str, Estimate]]]:
    results: dict[str, dict[str, dict[str, Estimate]]] = {}
    for line in verdict.by_tag:
        results.setdefault(line.tag, {}).setdefault(line.value, {})[line.method] = line.estimate
    return results


def encode_rows(report: contents.Report) -> str:
    """Encode the dev rows as compact JSON that is safe inside a script element."""
    names = [method.name for method in report.methods if method.num_dev]
    kinds = list(words.count_failures(report))
    texts = dict[str, int]()

    def get_index(text: str) -> int:
        # Each text is stored once.
        return texts.setdefault(text, len(texts))

    rows = [_encode_row(row, names, get_index, kinds) for row in report.dev]
    data = {
        "methods": [[method.name, method.label] for method in report.methods if method.num_dev],
        "left": _find_first((report.untuned, *names), names),
        "right": _find_first((report.tuned, *reversed(names)), names),
        "tuned": report.tuned,
        "turned": ("Higher with", "Lower with") if report.graded else ("Fixed by", "Broken by"),
        "least": report.min_change,
        "rows": rows,
        "failures": kinds,
        "texts": _cap_texts(list(texts)),
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_INSIDE_SCRIPT)


def _encode_row(
    answers: Mapping[str, files.Json], names: list[str], get_index: GetIndex, kinds: list[str]
) -> list[object]:
    # [id or `file:line`, input, expected, tags, answers], texts by their index. An answer is [text,
    # score, failures by the index of their kind, citations if there are some], or 0 if there is
    # none yet.
    line = next(iter(answers.values()))
    location = line.get("location") if _HASH.fullmatch(line["id"]) else None
    tags = [
        [get_index(tag), get_index(str(value))] for tag, value in (line.get("tags") or {}).items()
    ]
    encoded: list[object] = []
    for answer in map(answers.get, names):
        if answer is None:
            encoded.append(0)
            continue
        failures = [*answer["failed"], *([words.TRUNCATED] if answer["truncated"] else [])]
        citations = [get_index("; ".join(answer["citations"]))] if answer.get("citations") else []
        indices = [kinds.index(kind) for kind in failures]
        encoded.append(
            [get_index(answer["answer"]), round(answer["score"], 4), indices, *citations]
        )
    return [
        location or line["id"],
        get_index(line["input"]),
        get_index(line["expected"]),
        tags,
        encoded,
    ]


def _find_first(candidates: Iterable[str | None], names: list[str]) -> str | None:
    return next((name for name in candidates if name in names), None)


def _cap_texts(texts: list[str]) -> list[str]:
    # Use the largest cap at which all texts together fit into a page.
    for cap in TEXT_CAPS:
        shortened = [
            text
            if len(text) <= cap
            else f"{text[:cap]}\u2026 [{len(text) - cap:,} more characters in predictions.jsonl]"
            for text in texts
        ]
        if sum(len(text.encode()) for text in shortened) <= MAX_TEXT_BYTES:
            break
    return shortened
