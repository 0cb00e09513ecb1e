"""Personal data and secrets in the rows and in the instructions; their values are redacted.

Kinds whose rules are rarely wrong are warnings or errors. Kinds whose rules are often wrong, names
and addresses among them, are notes for a person to read.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice, repeat

from etude.base.formatting import format_count
from etude.checks.excerpts import CharSpan, abbreviate_contact, build_excerpt
from etude.checks.kinds import FindingKind, create_family, finds
from etude.checks.language.identification import identify_language
from etude.checks.material import Material, format_rows
from etude.checks.safety.sensitive import choose_review_step, find_repeated
from etude.privacy import BLOCKING, GRAVE, REVIEW, Span, find
from etude.privacy.find import find_for_review
from etude.privacy.names.people import GREETED, TITLED, find_capitalised
from etude.privacy.own_contact import MIN_SHARE
from etude.types import Column, Example, Excerpt, Finding

MAX_OWN = 3  # values of the organisation's contact data in the message, abbreviated
MAX_PASSAGE = (
    160  # characters of an excerpt: enough to judge it, but few values that the rules missed
)
# The replacement by --fix, for kinds whose replacement does not have the format of the value.
REPLACEMENTS = {"private_key": "a placeholder"}
PRIVACY_KINDS = tuple(
    create_family(
        "privacy",
        dict.fromkeys(BLOCKING, "personal data and secrets"),
        "error, warning",
        safety=True,
    )
)
KIND_NAMES = {
    **{"private_key": "a private key", "api_key": "an access key", "password": "a password"},
    **{"email": "an e-mail address", "iban": "a bank account (IBAN)", "card": "a payment card"},
    **{
        "national_id": "a national identity number",
        "phone": "a phone number",
        "ip_address": "an IP address",
    },
    **{
        "id_number": "an identity number",
        "birth_date": "a date of birth",
        "address": "a postal address",
    },
    **{"name": "a person's name", "health": "health information"},
}
FEW_NAMES = (
    " Only names after a title, a greeting or a label are found; most other names are missed."
)
SpansByRow = dict[int, set[CharSpan]]
HOUSE_CHARS = (
    6  # first characters of an address, in which a long house number is not taken for a postcode
)
ENGLISH_KINDS = frozenset(("birth_date", "name", "health"))  # kinds whose rules are English words
# A place or a postcode after a street and its number.
_PLACE = re.compile(
    r"[,\n"
    r"][\s>?*#|-]{0,8}(?:[0-9]{4,6}\b|(?!Apt|Suite|Ste|Unit|Flat|Room|Floor|Box)[^\W\d_a-zß-öø-ÿ])"
    r"|\b[0-9]{4,6} [^\W\d_a-zß-öø-ÿ]|\b[A-Z]{2} [0-9]{5}\b|\b[A-Z]{1,2}[0-9][A-Z0-9]? "
    r"[0-9][A-Z]{2}\b"
)
_NEXT_PLACE = re.compile(r",\s{1,3}[^\W\d_a-zß-öø-ÿ]\w")
_CAPITALS_BEFORE = re.compile(r"(?:(?=[^\W\d_a-z])\w[\w'’]{0,40}[ -]){1,4}$")
_CAPITALS_AFTER = re.compile(r"(?:[ -](?=[^\W\d_a-z])\w[\w'’]{0,40}){1,4}")


@finds(
    *PRIVACY_KINDS,
    FindingKind(
        "own_contact",
        "note",
        "contact data in the documents or in a tenth of the answers, treated as your own",
        safety=True,
    ),
    quick=True,
)
def check_personal_data(material: Material) -> Iterator[Finding]:
    """Yield one finding for each kind of personal data or secret whose rules are rarely wrong.

    Contact data in a large share of the answers, or in the documents, is the organisation's: a note
    of its own.
    """
    in_inputs, in_answers = material.personal_data
    is_labels = material.task.kind == "classify"
    for kind in BLOCKING:
        inputs = in_inputs.rows_of_kind(kind)
        answers = in_answers.rows_of_kind(kind)
        if not inputs and not answers:
            continue
        rows = sorted(inputs | answers)
        rename = " Labels are not masked: rename them." if is_labels and answers else ""
        replacement = REPLACEMENTS.get(kind, "a surrogate of the same format")
        yield material.finding(
            f"privacy_{kind}",
            "error" if kind in GRAVE else "warning",
            rows,
            f"{format_rows('contain', len(rows), len(material.rows))} what looks like "
            f"{KIND_NAMES[kind]}"
            f"{format_sides(inputs, answers, 'label' if is_labels else 'answer')}.",
            "Mask the values or delete the rows: a tuned model can repeat its training "
            f"data.{rename}",
            fix=f"replaces each value with {replacement}" if inputs or not is_labels else "",
            excerpts=_show_values(material, kind, rows),
            numbers={
                "rows": len(rows),
                "inputs": len(inputs),
                "outputs": len(answers),
                "of": len(material.rows),
            },
        )
    if own := in_answers.own_contacts():
        yield _report_own(material, own)


def _show_values(material: Material, kind: str, rows: Sequence[int]) -> Iterator[Excerpt]:
    """Yield an excerpt of each row's values, redacted; of the input if it has one."""
    in_inputs, in_answers = material.personal_data
    for row in rows:
        if spans := in_inputs.personal_spans(row, kind):
            yield show_passage(material.rows[row], "input", spans)
        elif spans := in_answers.personal_spans(row, kind):
            yield show_passage(material.rows[row], "output", spans)


def _report_own(material: Material, own: Mapping[Span, set[int]]) -> Finding:
    rows = sorted(set().union(*own.values()))
    values = sorted(own, key=lambda span: -len(own[span]))
    listed = ", ".join(map(abbreviate_contact, values[:MAX_OWN]))
    listed += f" and {len(values) - MAX_OWN} more" if len(values) > MAX_OWN else ""
    documents = " or in the documents" if material.task.documents else ""
    return material.finding(
        "own_contact",
        "note",
        rows,
        f"{format_rows('have', len(rows), len(material.rows))} an e-mail address or phone number "
        f"that is in at least {MIN_SHARE:.0%} of the answers{documents}: {listed}. Such values "
        "are treated as your own contact data and are not masked.",
        "If a value belongs to a person, remove it from the rows by hand.",
    )


def format_sides(inputs: Collection[int], answers: Collection[int], answer: str = "answer") -> str:
    """Format the numbers of inputs and answers: ", in the answer" or ": 3 in the input, 2 in the
    answer".
    """
    if inputs and answers:
        return f": {len(inputs):,} in the input, {len(answers):,} in the {answer}"
    return f", in the {'input' if inputs else answer}"


def show_passage(
    row: Example, column: Column, spans: Sequence[CharSpan], doubtful: Sequence[CharSpan] = ()
) -> Excerpt:
    """Build an excerpt around the first span. Of spans `doubtful` or maybe personal, only first
    letters are shown.
    """
    text = row.text if column == "input" else row.output
    review = [(span.start, span.end) for span in find(text) if span.kind in REVIEW]
    abbreviated = list(find_capitalised(text))
    for low, high in (*review, *doubtful):
        # Capitalised words next to a span are abbreviated too, because rules may find only a first
        # name.
        before = _CAPITALS_BEFORE.search(text[max(low - MAX_PASSAGE, 0) : low])
        after = _CAPITALS_AFTER.match(text, high)
        abbreviated.append(
            (low - (len(before[0]) if before else 0), after.end() if after else high)
        )
    return build_excerpt(row, column, spans, abbreviated, MAX_PASSAGE)


@finds(*PRIVACY_KINDS, quick=True)
def check_instructions(material: Material) -> Iterator[Finding]:
    """Yield one finding for each kind in the instructions or system messages; equal texts are
    searched once.
    """
    task = material.task
    texts = {task.file.name: task.instructions}
    texts |= {location: text for text, location in material.system_messages.items()}
    locations: dict[str, list[str]] = {kind: [] for kind in BLOCKING}
    for location, text in texts.items():
        for kind in {
            span.kind for span in find(text, review=False) if span.text not in material.surrogates
        }:
            locations[kind].append(location)
    for kind in filter(locations.get, BLOCKING):
        number = len(locations[kind])
        yield Finding(
            kind=f"privacy_{kind}",
            severity="error" if kind in GRAVE else "warning",
            rows=(),
            message=f"{format_count(number, 'text')} of the instructions and system messages "
            f"{'contains' if number == 1 else 'contain'} what looks like {KIND_NAMES[kind]}. "
            "Every prompt begins with such a text.",
            remedy="Remove it by hand: a served model can repeat its instructions, and --fix does "
            "not change them.",
            locations=tuple(locations[kind]),
            numbers={"texts": number, "rows": len(material.rows), "of": len(material.rows)},
        )


@finds(
    *create_family(
        "review",
        {kind: f"text that may be {KIND_NAMES[kind]}" for kind in REVIEW},
        "note",
        safety=True,
    )
)
def check_review(material: Material) -> Iterator[Finding]:
    """Yield one note for each kind whose rules are often wrong, for a person to read."""
    step = choose_review_step(len(material.rows))
    num_searched = len(range(0, len(material.rows), step))
    sample = (
        f" An even sample of {format_count(num_searched, 'row')} was searched." if step > 1 else ""
    )
    in_inputs, in_answers = _search_rows(material, step)
    for kind in REVIEW:
        inputs = in_inputs[kind]
        answers = in_answers[kind]
        rows = sorted({*inputs, *answers})
        if not rows:
            continue
        yield material.finding(
            f"review_{kind}",
            "note",
            rows,
            f"{format_rows('contain', len(rows), num_searched)} what may be {KIND_NAMES[kind]}"
            f"{format_sides(inputs, answers)}.{sample}",
            "Read these rows in the file, because these rules are often wrong, and only first "
            "letters are displayed here. Mask or delete the data of real "
            f"people.{FEW_NAMES if kind == 'name' else ''}",
            # Only first letters of everything that may be personal are shown.
            excerpts=(
                show_passage(
                    material.rows[row], "input" if row in inputs else "output", spans, spans
                )
                for row in rows
                for spans in [sorted(inputs.get(row) or answers[row])]
            ),
            numbers={
                "rows": len(rows),
                "inputs": len(inputs),
                "outputs": len(answers),
                "of": num_searched,
            },
        )


def _search_rows(
    material: Material, step: int
) -> tuple[defaultdict[str, SpansByRow], defaultdict[str, SpansByRow]]:
    """Map each kind to its spans in the inputs, and in the answers, of one row in `step`.

    If a value is found in one text of a row, its copies in the other text are found too.
    """
    in_inputs, in_answers = (
        defaultdict[str, SpansByRow](lambda: defaultdict[int, set[CharSpan]](set)) for _ in range(2)
    )
    # Labels, such as passcode_forgotten, are not searched.
    answers = repeat("") if material.task.kind == "classify" else material.outputs
    pairs = zip(material.inputs, answers, strict=False)
    for row, pair in islice(enumerate(pairs), 0, None, step):
        source, answer = pair
        source_spans, answer_spans = (
            _find_doubtful(material, text, sensitive.kept_spans(row))
            for text, sensitive in zip(pair, material.personal_data, strict=True)
        )
        for span in (*source_spans, *find_repeated(answer_spans, source)):
            in_inputs[span.kind][row].add((span.start, span.end))
        for span in (*answer_spans, *find_repeated(source_spans, answer)):
            in_answers[span.kind][row].add((span.start, span.end))
    return in_inputs, in_answers


def _find_doubtful(material: Material, text: str, blocking: Sequence[Span]) -> list[Span]:
    """Find text that may be personal. In languages other than English, only a title identifies a
    name.
    """
    spans = [
        span
        for span in find_for_review(text, blocking)
        if span.kind in REVIEW and _is_likely(span, text) and span.text not in material.surrogates
    ]
    if ENGLISH_KINDS.isdisjoint(span.kind for span in spans):
        return spans
    # A short text is assumed to be in the language of the answers or, if these are labels, of the
    # inputs.
    language = (
        identify_language(text) or material.output_languages.main or material.input_languages.main
    )
    if language in (None, "English"):
        return spans
    return [span for span in spans if span.kind not in ENGLISH_KINDS or span.rule == TITLED]


def _is_likely(span: Span, text: str) -> bool:
    """Whether a name or an address is more than capitalised words or numbers. A name needs a title,
    a greeting or a label; an address needs a street, a number, and a place or postcode.
    """
    if span.kind == "name":
        return span.rule in (TITLED, GREETED)
    if span.kind == "address":
        place = _PLACE.search(span.text, HOUSE_CHARS) or _NEXT_PLACE.match(text, span.end)
        return span.rule in ("street", "label") and place is not None
    return True
