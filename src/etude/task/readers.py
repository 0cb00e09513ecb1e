"""Readers of single values: page, name of the key and node in, the value out.

A value that cannot be used becomes a fault of the page and comes out as None or empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from etude.base.remedies import nearest_path
from etude.errors import quote_value
from etude.task.rules import Rule
from etude.task.yaml_nodes import Page, Reader, got, is_number, plain


def text(page: Page, key: str, node: yaml.Node) -> str | None:
    """A text; words that YAML takes for something else (yes, no, 12) are the text as it was written."""
    if not isinstance(node, yaml.ScalarNode):
        page.fault(node, f"{key} must be a text", got(node), f"write {key}: some text")
    elif not node.value.strip():
        page.fault(node, f"{key} is empty", got(node), "write a text, or delete the line")
    else:
        return str(node.value)
    return None


def prose(page: Page, key: str, node: yaml.Node) -> str | None:
    """A text that is meant to be read: a bare number or truth value is a fault."""
    if is_number(node) or node.tag == "tag:yaml.org,2002:bool":
        page.fault(node, f"{key} must be a text", got(node), f"write {key}: in words, or in quotes")
        return None
    words = text(page, key, node)
    return words.strip() if words else None


def texts(page: Page, key: str, node: yaml.Node) -> tuple[str, ...]:
    """A list of texts; one text stands for a list of one."""
    if isinstance(node, yaml.MappingNode):
        page.fault(node, f"{key} must be a list of texts", got(node), f"write {key}: [first, second]")
        return ()
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    texts = [text(page, f"{key}, entry {number},", item) for number, item in enumerate(items, 1)]
    return tuple(text for text in texts if text is not None)


def ruled(rule: Rule) -> Reader:
    """A reader of what a rule takes."""

    def read(page: Page, key: str, node: yaml.Node) -> Any:
        value = plain(node)
        fault = rule.fault("", key, value)
        if fault is None:
            return rule.take(value)
        written = fault.value if isinstance(node, yaml.SequenceNode) else got(node)
        page.fault(node, f"{key} {fault.message}", written, fault.remedy)
        return None

    return read


def duration(words: str) -> float | None:
    """Seconds of a length of time such as 90s, 15m, 2h or 1h30m; None when it is none or not above zero."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", words.strip())
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds or None


def budget(page: Page, key: str, node: yaml.Node) -> float | None:
    """Seconds; None for the word none."""
    words = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    seconds = duration(words)
    if seconds is None and words != "none":
        page.fault(node, f"{key} must be a length of time", got(node), "write 90s, 15m, 2h, 1h30m or none")
    return seconds


def existing(page: Page, key: str, node: yaml.Node) -> Path | None:
    """A path that is there, relative to the task's folder."""
    name = prose(page, key, node)
    if name is None:
        return None
    path = page.folder / Path(name).expanduser()
    if not path.exists():
        page.fault(node, f"{key} names a file that is not there", quote_value(name), near_file(path))
    return path


def existing_file(page: Page, key: str, node: yaml.Node) -> Path | None:
    """A file that is there, relative to the task's folder."""
    path = existing(page, key, node)
    if path is not None and path.is_dir() and not any(path.glob("**/state.json")):  # which `datasets` writes
        page.fault(node, f"{key} names a folder, not a file", got(node), "name the file inside it")
        return None
    return path


def near_file(path: Path) -> str:
    """The remedy for a path that is not there."""
    close = nearest_path(path)
    return (
        f"did you mean {close.name!r}? Paths start at the task's folder"
        if close
        else "paths start at the task's folder"
    )


def nested(readers: Mapping[str, Reader], build: Callable[..., Any]) -> Reader:
    """A reader of a mapping whose keys have readers of their own."""

    def read(page: Page, key: str, node: yaml.Node) -> Any:
        nodes = page.mapping(node, readers, key)
        return build(**{name: readers[name](page, f"{key}.{name}", part) for name, part in nodes.items()})

    return read
