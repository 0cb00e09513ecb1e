"""Cases of behaviour tests, and the suite files (YAML) that anybody can write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

import yaml

from etude.task import yaml_document
from etude.task.rules import SWITCH
from etude.types import ACTS, Act, Example, Kind, Message

# Suites of the starter pack, in the order of the report.
SUITES = ("normal", "unusual", "tricky", "sensitive")
ROW = "{row}"
OTHER_ROW = "{other_row}"
OTHER_LABEL = "{other_label}"
"""Placeholders in a question: a dev row's input, another row's input, a label that is not the
row's.
"""
RIGHT_CALL = "{right_call}"
RESULT = "{result}"
"""Placeholders for rows with functions: the calls of a row's right answer, the results in a row's
last turn.
"""
OWN_ANSWER = "{own_answer}"  # a turn of the assistant that is its own answer to the turns before it

FIXED = "case "  # how the unit of a case begins that is not made from a row


@dataclass(frozen=True)
class Case:
    """One question, and what makes an answer right."""

    id: str
    suite: str
    about: str  # kind of case, in a few words
    input: tuple[Message, ...]
    expect: tuple[Act, ...] = ("answer",)  # any of these acts is right
    must_contain: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    needs_contract: bool = True  # whether an answer must keep the task's contract
    is_secret: bool = False  # whether the instructions must not be repeated
    with_passages: bool = True  # whether an assistant that searches passages may do so
    after_passages: str = ""  # text that is put after the passages, as if it were in a document
    example: Example | None = None
    """The row that the task's metric scores the answer by; None if no answer is known to be
    right.
    """
    original_id: str = ""  # id of the case with the unchanged row
    must_match_original: bool = False  # whether the answer must be the same as to the unchanged row
    in_every_turn: bool = False  # whether its own earlier answers must be as expected, too
    unit: str = ""  # unit of the statistics: cases made from one dev row count once
    location: str = ""  # `file:line` of the question
    is_packaged: bool = (
        False  # whether the question, or the pattern that a row is inserted into, is Étude's
    )

    @property
    def origin(self) -> str:
        """Whose question it is: a share holds for such questions only."""
        if not self.unit.startswith(FIXED):
            return "made from your rows"
        return "of ours" if self.is_packaged else "of yours"

    @property
    def question(self) -> str:
        return self.input[-1].content

    @property
    def num_answers(self) -> int:
        """The number of answers to be asked for: its own ones in the conversation, and the last."""
        return 1 + sum(turn.content == OWN_ANSWER for turn in self.input)

    @property
    def full_text(self) -> str:
        turns = [turn.content for turn in self.input if turn.content != OWN_ANSWER]
        return "\n".join((*turns, self.after_passages))

    def play(self, answers: Sequence[str]) -> "Case":
        """Put own answers in their places; the case ends before the first that is missing."""
        own = iter(answers)
        turns = [
            replace(turn, content=next(own, OWN_ANSWER)) if turn.content == OWN_ANSWER else turn
            for turn in self.input
        ]
        return replace(self, input=tuple(takewhile(lambda turn: turn.content != OWN_ANSWER, turns)))


@dataclass(frozen=True)
class Entry:
    """One entry of a suite file: the properties that its cases share, and their questions."""

    case: Case  # the shared properties, without an id or a question
    ask: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()
    """A conversation in place of `ask`: question, answer, question. An answer may be
    `OWN_ANSWER`.
    """
    right: bool = True  # whether an answer to a question with {row} must be right for that row
    answer: str = ""  # the right answer, for the task's metric
    tags: Mapping[str, str] = field(
        default_factory=dict
    )  # tags of the row, for the task's check function
    kinds: tuple[Kind, ...] = ()  # kinds of task that the entry is for; empty for all
    needs: tuple[str, ...] = ()

    @property
    def patterns(self) -> list[tuple[str, ...]]:
        return [self.turns] if self.turns else [(text,) for text in self.ask]


@dataclass(frozen=True)
class SuiteFile:
    """The content of a suite file."""

    entries: tuple[Entry, ...]
    acts: Mapping[Act, tuple[str, ...]] = field(
        default_factory=dict
    )  # the task's own phrases for acts


def read_suite(file: Path) -> SuiteFile:
    """Read a suite file. Raises InputError with all errors, each with file:line.

    Its keys are names of suites, each with a list of entries, and `acts`.
    """
    page = yaml_document.YamlDocument(file.name, file.resolve().parent)
    root = yaml_document.parse_yaml(page, file)
    nodes = _read_suites(page, root)
    own_phrases: dict[Act, tuple[str, ...]] = {}
    if "acts" in nodes:
        readers: Mapping[str, Any] = dict.fromkeys(ACTS, yaml_document.read_texts)
        act_nodes = page.read_mapping(nodes.pop("acts"), readers, "acts")
        own_phrases = {
            act: yaml_document.read_texts(page, f"acts.{act}", act_nodes[act])
            for act in ACTS
            if act in act_nodes
        }
    entries = [entry for suite, node in nodes.items() for entry in _read_entries(page, suite, node)]
    page.raise_issues()
    return SuiteFile(tuple(entries), own_phrases)


def build_fixed_cases(entry: Entry) -> Iterator[Case]:
    """Build the cases of an entry without {row}."""
    for number, turns in enumerate(entry.patterns, 1):
        name = f"{entry.case.suite}/{entry.case.about}/{entry.case.location}.{number}"
        row = Example(
            name, to_chat(turns), entry.answer, tags=dict(entry.tags), location=entry.case.location
        )
        is_scored = entry.tags or entry.answer
        example = row if is_scored else None
        yield replace(entry.case, id=name, input=row.input, example=example, unit=f"{FIXED}{name}")


def to_chat(texts: tuple[str, ...]) -> tuple[Message, ...]:
    """Make turns of user and assistant in alternation, beginning with the user."""
    return tuple(
        Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)
    )


def _read_suites(page: yaml_document.YamlDocument, root: yaml.Node) -> dict[str, yaml.Node]:
    if not isinstance(root, yaml.MappingNode):
        remedy = "write sensitive: and a list of questions below it"
        page.add_issue(
            root, "a suite file must be a mapping", yaml_document.quote_node(root), remedy
        )
        return {}
    names = [str(key.value) for key, _ in root.value]
    return page.read_mapping(root, names, "the suite file")


def _read_entries(page: yaml_document.YamlDocument, suite: str, node: yaml.Node) -> Iterator[Entry]:
    if not isinstance(node, yaml.SequenceNode):
        page.add_issue(
            node,
            f"{suite} must be a list",
            yaml_document.quote_node(node),
            "write each question as - ask: ...",
        )
        return
    for item in node.value:
        line = f"{page.name}:{item.start_mark.line + 1}"
        nodes = page.read_mapping(item, _KEYS, f"a case of {suite}")
        values = {key: _KEYS[key](page, key, value_node) for key, value_node in nodes.items()}
        settings = {
            _FIELDS.get(key, key): value for key, value in values.items() if value is not None
        }
        if ("ask" in nodes) == ("turns" in nodes) and isinstance(item, yaml.MappingNode):
            page.add_issue(item, "a case needs a question", "", "write either ask: or turns:")
        elif len(settings.get("turns", ("",))) % 2 == 0:
            page.add_issue(
                item, "turns must end with a question", "", "write question, answer, question"
            )
        elif any(
            OWN_ANSWER in text
            for text in (*settings.get("ask", ()), *settings.get("turns", ())[::2])
        ):
            remedy = "write question, answer, question, and {own_answer} for an answer"
            page.add_issue(item, "{own_answer} stands where a question should", "", remedy)
        else:
            shared = {name: settings.pop(name) for name in _CASE_FIELDS if name in settings}
            yield Entry(
                Case("", suite, shared.pop("about", suite), (), location=line, **shared), **settings
            )


def _read_questions(page: yaml_document.YamlDocument, key: str, node: yaml.Node) -> tuple[str, ...]:
    # A question may be empty: that is a case too.
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        if not isinstance(item, yaml.ScalarNode):
            message = f"{key} must be a question or a list of questions"
            page.add_issue(item, message, yaml_document.quote_node(item), "write it in quotes")
    return tuple(str(item.value) for item in items if isinstance(item, yaml.ScalarNode))


def _read_words(*known: str) -> yaml_document.NodeReader:
    def read(page: yaml_document.YamlDocument, key: str, node: yaml.Node) -> tuple[str, ...] | None:
        words = yaml_document.read_texts(page, key, node)
        for word in words:
            if word not in known:
                remedy = f"write one or more of {', '.join(known)}"
                page.add_issue(node, f"{key}: unknown value", repr(word), remedy)
        return tuple(word for word in known if word in words) or None

    return read


def _read_tags(page: yaml_document.YamlDocument, key: str, node: yaml.Node) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        page.add_issue(
            node,
            f"{key} must be a mapping",
            yaml_document.quote_node(node),
            "write tags: {name: value}",
        )
        return {}
    return {str(name.value): str(value.value) for name, value in node.value}


_SWITCH = yaml_document.rule_reader(SWITCH)
_KEYS: Mapping[str, yaml_document.NodeReader] = {
    "ask": _read_questions,
    "turns": yaml_document.read_texts,
    "about": yaml_document.read_text,
    "expect": _read_words(*(act for act in ACTS if act != "incoherent")),
    "must_contain": yaml_document.read_texts,
    "must_not_contain": yaml_document.read_texts,
    "form": _SWITCH,
    "right": _SWITCH,
    "secret": _SWITCH,
    "passages": _SWITCH,
    "every_turn": _SWITCH,
    "behind": yaml_document.read_text,
    "answer": yaml_document.read_text,
    "tags": _read_tags,
    "for": _read_words(*get_args(Kind)),
    "needs": _read_words("documents", "contract", "citations"),
}
_FIELDS = {
    "for": "kinds",
    "form": "needs_contract",
    "secret": "is_secret",
    "passages": "with_passages",
    "every_turn": "in_every_turn",
    "behind": "after_passages",
}
"""Key -> the field of Entry or Case, if the names differ."""
_CASE_FIELDS = ("about", "expect", "must_contain", "must_not_contain", *list(_FIELDS.values())[1:])
