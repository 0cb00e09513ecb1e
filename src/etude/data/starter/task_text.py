"""The text of a new task file: every key with the reason for its value."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import yaml
from jinja2 import Template

from etude.base import formatting, pages
from etude.data.dataset import MIN_TEST_ROWS, count_min_rows
from etude.data.formats.columns import to_task_columns
from etude.data.splits.sides import MAX_TEST_ROWS, TEST_SHARE
from etude.data.starter import guess_notes
from etude.data.starter.draft import SEED, TaskDraft
from etude.data.starter.local_models import ModelProposal
from etude.task import Task

MODEL = "smollm2-135m-instruct"  # the model of a new task: the packaged model
# What is said for each limit, until the user writes a better sentence.
LIMIT_SENTENCES = {
    "out_of_scope": "I cannot help with this question. Please ask somebody else.",
    "to_person": "A person should look at this. Please contact our team.",
    "refused": "I cannot help with that.",
}
# Suffixes by which a folder next to the rows is suggested for `documents:`.
DOCUMENTS = (".md", ".markdown", ".html", ".pdf", ".docx")
_PLAIN_STEMS = {
    "train",
    "training",
    "trainingset",
    "trainset",
    "data",
    "examples",
    "rows",
    "all",
    "dataset",
}
# Names of a file next to the examples that is suggested for `test:`.
_TEST_STEMS = ("test", "test_set", "testset")
_WIDTH = 100


def render_task_file(draft: TaskDraft, local_models: Sequence[ModelProposal] = ()) -> str:
    """The whole task file, from the template `task.yaml.j2`. In the template, a line that begins
    with
    ## is a remark, which is wrapped, and a line that begins with # is a key that is displayed but
    not set.
    """
    file = draft.columns.file.resolve()
    siblings = (draft.columns.file.with_name(f"{stem}{file.suffix}") for stem in _TEST_STEMS)
    test_file = next(
        (path for path in siblings if path.is_file() and path != draft.columns.file), None
    )
    documents = _find_documents(draft.columns.file)
    num_unread = len(draft.examples) - len(draft.readable)
    text = _load_template().render(
        draft=draft,
        local_models=local_models,
        notes=guess_notes,
        rows=formatting.format_count(len(draft.examples), "row"),
        unread=f"{num_unread:,}" if num_unread else "",
        name=file.parent.name
        if file.stem.casefold() in _PLAIN_STEMS and file.parent.name
        else file.stem,
        model=MODEL,
        columns={
            "file": _relative_path(draft.columns.file, draft.target),
            **to_task_columns(draft.columns),
        },
        split_sentence=_describe_split(len(draft.examples), bool(draft.num_chats)),
        test_file=None if draft.test else test_file,
        test=_relative_path(
            draft.test or test_file or draft.target.with_name("test.jsonl"), draft.target
        ),
        instructions=_write_instructions(draft),
        documents=_relative_path(documents, draft.target) if documents else "",
        limits=LIMIT_SENTENCES,
        margin=Task.margin,
        seed=SEED,
    )
    return "\n".join(map(_wrap_remark, text.split("\n"))) + "\n"


@cache
def _load_template() -> Template:
    templates = pages.create_environment(Path(__file__).parent, autoescape=False)
    templates.filters |= {
        "yaml": lambda value: yaml.safe_dump(
            dict(value), sort_keys=False, allow_unicode=True, width=_WIDTH
        ).rstrip(),
        "active": lambda text, is_set: (
            text if is_set else textwrap.indent(text, "# ", lambda line: True)
        ),
    }
    return templates.get_template("task.yaml.j2")


def _find_documents(file: Path) -> Path | None:
    for folder in sorted(file.absolute().parent.iterdir()):
        if os.access(folder, os.R_OK | os.X_OK) and any(
            path.suffix.lower() in DOCUMENTS for path in folder.glob("*")
        ):
            return folder
    return None


def _wrap_remark(line: str) -> str:
    if not line.startswith("## "):
        return line
    lines = textwrap.wrap(line[3:], _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)


def _describe_split(num_rows: int, has_chats: bool) -> str:
    minimum, sides = count_min_rows(has_own_test=False)
    if num_rows < minimum:
        with_test = count_min_rows(has_own_test=True)[0]
        needed = f"a comparison needs {minimum} ({sides}), or {with_test} with this line"
        return f"Without this line, the {num_rows} rows are too few: {needed}."
    counted = "; with turns: all, these numbers count answers" if has_chats else ""
    rule = f"{float(TEST_SHARE):.0%}, at least {MIN_TEST_ROWS} and at most {MAX_TEST_ROWS:,}"
    return f"Without this line, {rule} of the {num_rows:,} rows are split off and sealed{counted}."


def _write_instructions(draft: TaskDraft) -> str:
    contract = draft.contract[0]
    schema = contract.json_schema or {}
    verb = "Classify the message into one of"
    match draft.kind[0]:
        case "classify" if draft.scale:
            return f"Score the message from {draft.scale[0]} to {draft.scale[-1]}."
        case "classify" if not contract.labels:
            return "Classify the message."
        case "classify":
            verb = (
                "List all labels that apply to the message, of" if draft.labels_of_lists else verb
            )
            line = f" {', '.join(contract.labels)}."
            labels = (
                line
                if len(line) <= _WIDTH
                else "".join(f"\n- {label}" for label in contract.labels)
            )
            return f"{verb}:{labels}"
        case "extract" if schema.get("type") in ("integer", "number"):
            return "Answer with the number alone."
        case "extract":
            keys = ", ".join(schema.get("properties", {}))
            return f"Extract from the text, as JSON{' with the keys ' + keys if keys else ''}."
        case "rewrite":
            first = "Rewrite the text. Keep its meaning."
        case _:
            first = (
                "Follow the instruction."
                if "instruction" in draft.columns.input
                else "Answer the message."
            )
    return " ".join([first, *_list_rules(contract.fields, () if draft.calls else draft.outputs)])


def _list_rules(fields: Sequence[str], outputs: Sequence[str]) -> Iterator[str]:
    if fields:
        yield f"Write these lines: {', '.join(name.removesuffix('?') for name in fields)}."
    optional = [name.removesuffix("?") for name in fields if name.endswith("?")]
    if optional:
        yield f"Leave out {', '.join(optional)} where it does not apply."
    if not outputs:
        return
    lengths = sorted(len(output.split()) for output in outputs)
    # Deciles: the length is mentioned only if most outputs have about the same length.
    low, usual, high = (lengths[len(lengths) * decile // 10] for decile in (1, 5, 9))
    if high <= 3 * max(low, 1):
        yield f"Use about {usual} word{'s' if usual > 1 else ''}."


def _relative_path(file: Path, target: Path) -> str:
    return Path(os.path.relpath(file.resolve(), target.resolve().parent)).as_posix()
