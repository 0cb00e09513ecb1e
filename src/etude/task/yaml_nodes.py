"""A YAML file read by its nodes, so that every fault names its line.

Only plain YAML is read: no aliases, no tags, one document. Nothing is constructed from a node but
texts, numbers, truth values, lists and mappings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from etude.base.remedies import decoding_fault, instead, nearest, nearest_path
from etude.base.wording import command
from etude.errors import InputError, Issue, quote_value
from etude.task.definition import is_row_file, row_files

Meant = Callable[[str, Any], str | None]
"""What to do about an unknown key with its value, as the remedy of a fault; None where nothing is known of it."""


@dataclass
class Page:
    """A task file being read, and the faults found in it so far."""

    name: str
    folder: Path
    needs_model: bool = True
    """Whether a model that is not there is a fault."""
    faults: list[tuple[int, Issue]] = field(default_factory=list)
    misspelt: set[tuple[str, str]] = field(default_factory=set)
    """(name of a mapping, known key) where an unknown key was told to be that key."""

    def fault(self, node: yaml.Node | None, what: str, got: str, remedy: str) -> None:
        """Adds a fault of the node's line; without a node, of the first line."""
        self.faults.append(self._located(node, what, got, remedy))

    def mapping(
        self, node: yaml.Node, known: Iterable[str], name: str, meant: Meant = lambda key, value: None
    ) -> dict[str, yaml.Node]:
        """Known key -> node of its value; keys without a value are left out. `meant` says what to do about an unknown
        key with its value, and None where the nearest known one is to be named."""
        if not isinstance(node, yaml.MappingNode):
            self.fault(
                node, f"{name} must be a mapping of keys to values", got(node), "write key: value lines"
            )
            return {}
        first: dict[str, int] = {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            word = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if word not in known and (remedy := meant(word, plain(value))):
                self.fault(key, f"unknown key in {name}", got(key), remedy)
            elif self._is_new_key(key, known, name, first) and not _is_null(value):
                found[key.value] = value
        return found

    def raise_faults(self) -> None:
        """Raises all faults in the order of lines."""
        faults = [fault for _, fault in sorted(self.faults, key=lambda pair: pair[0])]
        if faults:
            raise InputError(faults)

    def _is_new_key(self, key: yaml.Node, known: Iterable[str], name: str, first: dict[str, int]) -> bool:
        word = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
        if word not in known:
            self.fault(key, f"unknown key in {name}", got(key), instead(word, known))
            self.misspelt.add((name, nearest(word, known) or ""))
            return False
        if word in first:
            what = f"the key {word!r} stands twice, first on line {first[word]}"
            self.fault(key, what, word, "keep one of the two")
            return False
        first[word] = _line(key)
        return True

    def _located(self, node: yaml.Node | None, what: str, got: str, remedy: str) -> tuple[int, Issue]:
        line = _line(node) if node is not None else 1
        return line, Issue(f"{self.name}:{line}", what, got, remedy)


Reader = Callable[[Page, str, yaml.Node], Any]


def compose(page: Page, file: Path) -> yaml.Node:
    """The root node of a YAML file. Raises InputError when it cannot be read as one mapping."""
    text = _read_text(page, file)
    try:
        aliases = [event for event in yaml.parse(text, yaml.SafeLoader) if isinstance(event, yaml.AliasEvent)]
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InputError([_yaml_fault(page, error, text)]) from error
    except RecursionError as error:
        raise InputError([Issue(page.name, "nested too deep", "", "write it flatter")]) from error
    # An alias would let a short file stand for an endless one, and hide which line a value is on.
    if aliases:
        lines = [alias.start_mark.line + 1 if alias.start_mark else 1 for alias in aliases]
        anchor = f"*{aliases[0].anchor}"
        what = "YAML aliases are not read"
        raise InputError(Issue(f"{page.name}:{line}", what, anchor, "write the value out") for line in lines)
    if root is None:
        raise InputError([Issue(page.name, "the task file is empty", "", "run etude init FILE to write one")])
    return root


def _read_text(page: Page, file: Path) -> str:
    if is_row_file(file) and file.exists():
        remedy = f"write a task file for it with {command('init', file)}"
        raise InputError([Issue(str(file), "a file of rows, not a task file", "", remedy)])
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InputError([unreadable_task(file, error.strerror or "")]) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError([decoding_fault(f"{page.name}:{line}", raw, error)]) from error


def unreadable_task(file: Path, got: str) -> Issue:
    """The fault of a task file that cannot be read, with the nearest one that is there."""
    close = nearest_path(file, _may_be_task)
    meant = f"did you mean {close}? Else " if close else ""
    remedy = f"{meant}name a task file, or write one with etude init {row_files(file.parent) or 'FILE'}"
    return Issue(str(file), "cannot read the task file", got, remedy)


def _may_be_task(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") or (path / "task.yaml").is_file()


def _yaml_fault(page: Page, error: yaml.YAMLError, text: str) -> Issue:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        what = f"not YAML: {getattr(error, 'problem', None) or error}"
        words = next(islice(text.splitlines(), mark.line, None), "the end of the file").strip()
        remedy = "check colons, quotes and indentation"
        return Issue(f"{page.name}:{mark.line + 1}", what, quote_value(words), remedy)
    position = getattr(error, "position", 0)
    got = quote_value(text[position : position + 1])
    line = text.count("\n", 0, position) + 1
    return Issue(f"{page.name}:{line}", "a character that YAML does not allow", got, "delete it")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def got(node: yaml.Node) -> str:
    """A node as it stands in a message."""
    if isinstance(node, yaml.ScalarNode):
        return quote_value(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def is_number(node: yaml.Node) -> bool:
    """Whether a node is a number by its text: YAML 1.1 itself takes 1e-4 for a text and 1:30 for 90."""
    try:
        return isinstance(node, yaml.ScalarNode) and node.style is None and math.isfinite(float(node.value))
    except ValueError:
        return False


def plain(node: yaml.Node) -> Any:
    """A node as JSON has it: dates and the like stay texts."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    kind = node.tag.rpartition(":")[2]
    if kind in ("null", "bool"):
        return None if kind == "null" else node.value.lower() in ("true", "yes", "on")
    if is_number(node):
        return int(node.value) if re.fullmatch(r"[+-]?\d+", node.value) else float(node.value)
    return str(node.value)
