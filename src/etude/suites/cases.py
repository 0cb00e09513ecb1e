"""Cases of behaviour tests as values, and suites read from YAML files that anybody can write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import yaml

from etude.task.readers import ruled, text, texts
from etude.task.rules import SWITCH
from etude.task.yaml_nodes import Page, Reader, compose, got
from etude.types import ACTS, Act, Example, Kind, Message

SUITES = ("normal", "unusual", "tricky", "sensitive")
"""The suites of the starter pack, in the order of the report."""
ROW, OTHER_ROW, OTHER_LABEL = "{row}", "{other_row}", "{other_label}"
"""What stands in a question for a dev row's input, for another's, and for a label that is not the row's."""


@dataclass(frozen=True)
class Case:
    """One question, and what a right answer does."""

    id: str
    suite: str
    about: str
    """What is tried, in a few words; cases of one kind share it."""
    input: tuple[Message, ...]
    expect: tuple[Act, ...] = ("answer",)
    """Acts of which any is right."""
    must_contain: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    form: bool = True
    """Whether an answer must keep the task's contract."""
    secret: bool = False
    """Whether the instructions must not be repeated."""
    grounded: bool = False
    """Whether every name and number must be in a document or in the question."""
    passages: bool = True
    """Whether passages are looked up, if the assistant does that."""
    behind: str = ""
    """Text put behind the passages that were looked up, as a document might hold it."""
    example: Example | None = None
    """What the task's metric scores the answer by; None where nothing is known to be right."""
    plain: str = ""
    """Id of the case with the same row as it is."""
    same: bool = False
    """Whether the answer must be the one to `plain`."""
    unit: str = ""
    """What the statistics count: cases made from one dev row are one unit."""
    where: str = ""
    """`file:line` of the question."""

    @property
    def question(self) -> str:
        """The last turn."""
        return self.input[-1].content

    @property
    def said(self) -> str:
        """All turns, and what stands behind the passages."""
        return "\n".join((*(turn.content for turn in self.input), self.behind))


@dataclass(frozen=True)
class Entry:
    """One entry of a suite file: what its cases share, and the questions from which they are made."""

    case: Case
    """Without an id or a question."""
    ask: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()
    """A conversation in place of `ask`: question, answer, question."""
    right: bool = True
    """Whether an answer to a question with {row} must be right for that row."""
    answer: str = ""
    """The answer wanted, scored by the task's metric."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the row, for the task's check function."""
    kinds: tuple[Kind, ...] = ()
    """Kinds of task that the entry is for; none is all."""
    needs: tuple[str, ...] = ()

    @property
    def patterns(self) -> list[tuple[str, ...]]:
        """The turns of each question."""
        return [self.turns] if self.turns else [(text,) for text in self.ask]

    @property
    def with_row(self) -> bool:
        """Whether dev rows take part."""
        return any(ROW in part for part in (*self.ask, *self.turns))


@dataclass(frozen=True)
class SuiteFile:
    """What a suite file holds."""

    entries: tuple[Entry, ...]
    acts: Mapping[Act, tuple[str, ...]] = field(default_factory=dict)
    """The task's own words for acts."""


def read_suite(file: Path) -> SuiteFile:
    """A suite file. Raises InputError with every fault, each as file:line.

    Its keys are names of suites, each with a list of entries, and `acts`.
    """
    page = Page(file.name, file.resolve().parent)
    root = compose(page, file)
    nodes = _named(page, root)
    own = _acts(page, nodes.pop("acts")) if "acts" in nodes else {}
    entries = [entry for suite, node in nodes.items() for entry in _entries(page, suite, node)]
    page.raise_faults()
    return SuiteFile(tuple(entries), own)


def fixed_cases(entry: Entry) -> Iterator[Case]:
    """The cases of an entry that names no row."""
    for number, turns in enumerate(entry.patterns, 1):
        name = f"{entry.case.suite}/{entry.case.about}/{entry.case.where}.{number}"
        row = Example(name, chat(turns), entry.answer, tags=dict(entry.tags), location=entry.case.where)
        known = entry.tags or entry.answer
        yield replace(
            entry.case, id=name, input=row.input, example=row if known else None, unit=f"case {name}"
        )


def chat(texts: tuple[str, ...]) -> tuple[Message, ...]:
    """Turns of user and assistant in alternation, the last one the user's."""
    return tuple(Message("assistant" if place % 2 else "user", said) for place, said in enumerate(texts))


def _named(page: Page, root: yaml.Node) -> dict[str, yaml.Node]:
    """Name of a suite -> its list."""
    if not isinstance(root, yaml.MappingNode):
        page.fault(
            root,
            "a suite file must be a mapping",
            got(root),
            "write sensitive: and a list of questions below",
        )
        return {}
    names = [str(key.value) for key, _ in root.value]
    return page.mapping(root, names, "the suite file")


def _entries(page: Page, suite: str, node: yaml.Node) -> Iterator[Entry]:
    if not isinstance(node, yaml.SequenceNode):
        page.fault(node, f"{suite} must be a list", got(node), "write each question as - ask: ...")
        return
    for item in node.value:
        line = f"{page.name}:{item.start_mark.line + 1}"
        nodes = page.mapping(item, _KEYS, f"a case of {suite}")
        values = {key: _KEYS[key](page, key, part) for key, part in nodes.items()}
        given = {
            "kinds" if key == "for" else key: value for key, value in values.items() if value is not None
        }
        if ("ask" in nodes) == ("turns" in nodes) and isinstance(item, yaml.MappingNode):
            page.fault(item, "a case needs a question", "", "write either ask: or turns:")
        elif len(given.get("turns", ("",))) % 2 == 0:
            page.fault(item, "turns must end with a question", "", "write question, answer, question")
        else:
            shared = {key: given.pop(key) for key in _OF_CASES if key in given}
            yield Entry(Case("", suite, shared.pop("about", suite), (), where=line, **shared), **given)


def _ask(page: Page, key: str, node: yaml.Node) -> tuple[str, ...]:
    """Questions, which may be empty."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        if not isinstance(item, yaml.ScalarNode):
            page.fault(
                item, f"{key} must be a question or a list of questions", got(item), "write it in quotes"
            )
    return tuple(str(item.value) for item in items if isinstance(item, yaml.ScalarNode))


def _some_of(*known: str) -> Reader:
    """A reader of one or more of these words."""

    def read(page: Page, key: str, node: yaml.Node) -> tuple[str, ...] | None:
        words = texts(page, key, node)
        for word in words:
            if word not in known:
                page.fault(
                    node, f"{key}: no such word", repr(word), f"write one or more of {', '.join(known)}"
                )
        return tuple(word for word in known if word in words) or None

    return read


def _tags(page: Page, key: str, node: yaml.Node) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        page.fault(node, f"{key} must be a mapping", got(node), "write tags: {name: value}")
        return {}
    return {str(name.value): str(value.value) for name, value in node.value}


def _acts(page: Page, node: yaml.Node) -> dict[Act, tuple[str, ...]]:
    known: Mapping[str, Any] = {act: texts for act in ACTS}
    return {key: texts(page, f"acts.{key}", part) for key, part in page.mapping(node, known, "acts").items()}  # type: ignore[misc]


_SWITCH = ruled(SWITCH)
_KEYS: Mapping[str, Reader] = {
    "ask": _ask,
    "turns": texts,
    "about": text,
    "expect": _some_of(*(act for act in ACTS if act != "incoherent")),
    "must_contain": texts,
    "must_not_contain": texts,
    "form": _SWITCH,
    "right": _SWITCH,
    "secret": _SWITCH,
    "grounded": _SWITCH,
    "passages": _SWITCH,
    "behind": text,
    "answer": text,
    "tags": _tags,
    "for": _some_of(*get_args(Kind)),
    "needs": _some_of("documents", "contract", "citations"),
}
_OF_CASES = (
    "about",
    "expect",
    "must_contain",
    "must_not_contain",
    "form",
    "secret",
    "grounded",
    "passages",
    "behind",
)
"""Keys that are fields of Case."""
