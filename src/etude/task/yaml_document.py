"""A YAML file read by its nodes, so that every error has its line, and readers of single values.

Only plain YAML is read: no aliases, no tags, one document. Nodes become only texts, numbers, truth
values, lists and mappings. A reader gets the document, the name of a key and its node. If the value
cannot be used, the reader adds an issue to the document and returns None or an empty value.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from etude.base.formatting import format_command
from etude.base.issues import decoding_issue, find_nearest, find_nearest_path, suggest_instead
from etude.errors import InputError, Issue, quote_value
from etude.task import definition, rules

# From an unknown key and its value to a remedy; None for the default remedy.
Suggest = Callable[[str, Any], str | None]
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass
class YamlDocument:
    """A YAML file while it is read, and its errors so far."""

    name: str
    folder: Path
    needs_model: bool = True  # whether a missing model is an error
    issues: list[tuple[int, Issue]] = field(default_factory=list)  # line and error

    def add_issue(self, node: yaml.Node | None, message: str, value: str, remedy: str) -> None:
        """Add an error at the node's line; without a node, at the first line."""
        line = _line(node) if node is not None else 1
        self.issues.append((line, Issue(f"{self.name}:{line}", message, value, remedy)))

    def read_mapping(
        self,
        node: yaml.Node,
        known: Iterable[str],
        name: str,
        suggest: Suggest = lambda key, value: None,
    ) -> dict[str, yaml.Node]:
        """Return known key -> node of its value; keys without a value are left out. `suggest`
        returns the remedy for an unknown key; if it returns None, the remedy is the nearest known
        key.
        """
        if not isinstance(node, yaml.MappingNode):
            message = f"{name} must be a mapping of keys to values"
            self.add_issue(node, message, quote_node(node), "write key: value lines")
            return {}
        first_lines: dict[str, int] = {}
        nodes: dict[str, yaml.Node] = {}
        for key, value in node.value:
            word = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if word not in known:
                remedy = suggest(word, to_plain(value))
                # The value is read as that of a near known key, so that its errors are reported
                # too.
                if remedy is None:
                    remedy = suggest_instead(word, known)
                    if (nearest := find_nearest(word, known)) is not None:
                        nodes.setdefault(nearest, value)
                self.add_issue(key, f"unknown key in {name}", quote_node(key), remedy)
            elif word in first_lines:
                message = f"the key {word!r} occurs twice, first on line {first_lines[word]}"
                self.add_issue(key, message, word, "keep one of the two")
            else:
                first_lines[word] = _line(key)
                if not (
                    isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null"
                ):
                    nodes[word] = value
        return nodes

    def raise_issues(self) -> None:
        """Raise InputError with all errors in the order of lines, if there are any."""
        if self.issues:
            raise InputError(issue for _, issue in sorted(self.issues, key=lambda pair: pair[0]))


NodeReader = Callable[[YamlDocument, str, yaml.Node], Any]


def parse_yaml(document: YamlDocument, file: Path) -> yaml.Node:
    """Return the root node of a YAML file. Raises InputError if it cannot be read as one
    mapping.
    """
    text = _read_file(document, file)
    # Composing resolves aliases, which are refused with their lines, so a text with their sign is
    # parsed twice.
    try:
        events = yaml.parse(text, yaml.SafeLoader) if "*" in text else ()
        aliases = [event for event in events if isinstance(event, yaml.AliasEvent)]
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InputError([_yaml_issue(document, error, text)]) from error
    except RecursionError as error:
        raise InputError.of(document.name, "nested too deep", "", "reduce the nesting") from error
    # Aliases can make a short file expand enormously, and hide the line of a value.
    if aliases:
        lines = [alias.start_mark.line + 1 if alias.start_mark else 1 for alias in aliases]
        anchor = f"*{aliases[0].anchor}"
        message = "YAML aliases are not supported"
        raise InputError(
            Issue(f"{document.name}:{line}", message, anchor, "repeat the value") for line in lines
        )
    if root is None:
        remedy = "run etude init EXAMPLES to create a task file"
        raise InputError.of(document.name, "the task file is empty", "", remedy)
    return root


def _read_file(document: YamlDocument, file: Path) -> str:
    if definition.is_row_file(file) and file.exists():
        remedy = f"create a task file for it with {format_command('init', file)}"
        raise InputError.of(str(file), "this is a file of rows, not a task file", "", remedy)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InputError([task_file_issue(file, error.strerror or "")]) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError([decoding_issue(f"{document.name}:{line}", raw, error)]) from error


def task_file_issue(file: Path, reason: str) -> Issue:
    """Return the error of a task file that cannot be read, with the most similar path in its
    folder.
    """
    nearest = find_nearest_path(
        file, lambda path: path.suffix in (".yaml", ".yml") or (path / "task.yaml").is_file()
    )
    hint = f"did you mean {nearest}? Otherwise " if nearest else ""
    row_files = definition.format_row_files(file.parent) or "FILE"
    remedy = f"{hint}give a task file, or create one with etude init {row_files}"
    return Issue(str(file), "cannot read the task file", reason, remedy)


def _yaml_issue(document: YamlDocument, error: yaml.YAMLError, text: str) -> Issue:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        message = f"not YAML: {getattr(error, 'problem', None) or error}"
        line = next(islice(text.splitlines(), mark.line, None), "the end of the file").strip()
        remedy = "check colons, quotes and indentation"
        return Issue(f"{document.name}:{mark.line + 1}", message, quote_value(line), remedy)
    position = getattr(error, "position", 0)
    location = f"{document.name}:{text.count(chr(10), 0, position) + 1}"
    character = quote_value(text[position : position + 1])
    return Issue(location, "a character that YAML does not allow", character, "delete it")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def quote_node(node: yaml.Node) -> str:
    """Return a node as messages show it."""
    if isinstance(node, yaml.ScalarNode):
        return quote_value(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def is_number(node: yaml.Node) -> bool:
    """Whether the text of a node is a number. YAML 1.1 cannot decide this: it reads 1e-4 as a text
    and 1:30 as 90.
    """
    try:
        return (
            isinstance(node, yaml.ScalarNode)
            and node.style is None
            and math.isfinite(float(node.value))
        )
    except ValueError:
        return False


def to_plain(node: yaml.Node) -> Any:
    """Return a node as a JSON value; dates and similar values stay texts."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): to_plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [to_plain(item) for item in node.value]
    # PyYAML's tag of a plain scalar follows YAML 1.1.
    kind = node.tag.rpartition(":")[2]
    if kind in ("null", "bool"):
        return None if kind == "null" else node.value.lower() in ("true", "yes", "on")
    if is_number(node):
        return int(node.value) if re.fullmatch(r"[+-]?\d+", node.value) else float(node.value)
    return str(node.value)


def read_text(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """Return a text. Words that YAML reads as other values (yes, no, 12) stay as they are
    written.
    """
    if not isinstance(node, yaml.ScalarNode):
        document.add_issue(
            node, f"{key} must be a text", quote_node(node), f"write {key}: some text"
        )
    elif not node.value.strip():
        document.add_issue(
            node, f"{key} is empty", quote_node(node), "write a text, or delete the line"
        )
    else:
        return str(node.value)
    return None


def read_prose(document: YamlDocument, key: str, node: yaml.Node) -> str | None:
    """Return a text for people or a path; a number or truth value without quotes is an error."""
    if is_number(node) or node.tag == "tag:yaml.org,2002:bool":
        remedy = f"write words after {key}:, or put the value in quotes"
        document.add_issue(node, f"{key} must be a text", quote_node(node), remedy)
        return None
    text = read_text(document, key, node)
    return text.strip() if text else None


def read_texts(document: YamlDocument, key: str, node: yaml.Node) -> tuple[str, ...]:
    """Return a list of texts; a single text becomes a list of one."""
    if isinstance(node, yaml.MappingNode):
        remedy = f"write {key}: [first, second]"
        document.add_issue(node, f"{key} must be a list of texts", quote_node(node), remedy)
        return ()
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    texts = [
        read_text(document, f"{key}, entry {number},", item) for number, item in enumerate(items, 1)
    ]
    return tuple(text for text in texts if text is not None)


def rule_reader(rule: rules.Rule) -> NodeReader:
    """Return a reader of the values that a rule accepts."""

    def read(document: YamlDocument, key: str, node: yaml.Node) -> Any:
        value = to_plain(node)
        issue = rule.check("", key, value)
        if issue is None:
            return rule.parse(value)
        written = issue.value if isinstance(node, yaml.SequenceNode) else quote_node(node)
        document.add_issue(node, f"{key} {issue.message}", written, issue.remedy)
        return None

    return read


def mapping_reader(readers: Mapping[str, NodeReader], build: Callable[..., Any]) -> NodeReader:
    """Return a reader of a mapping, each of whose keys has its own reader."""

    def read(document: YamlDocument, key: str, node: yaml.Node) -> Any:
        return build(**read_keys(document, key, document.read_mapping(node, readers, key), readers))

    return read


def text_mapping_reader(read_value: NodeReader) -> NodeReader:
    """Return a reader of a mapping whose keys are the user's own texts, such as labels."""

    def read(document: YamlDocument, key: str, node: yaml.Node) -> dict[str, Any]:
        own = (
            [str(name.value) for name, _ in node.value]
            if isinstance(node, yaml.MappingNode)
            else []
        )
        nodes = document.read_mapping(node, own, key)
        return {name: read_value(document, f"{key}.{name}", value) for name, value in nodes.items()}

    return read


def read_keys(
    document: YamlDocument,
    key: str,
    nodes: Mapping[str, yaml.Node],
    readers: Mapping[str, NodeReader],
) -> dict[str, Any]:
    """Return each key under `key` with its value; None for values that cannot be used."""
    return {name: readers[name](document, f"{key}.{name}", node) for name, node in nodes.items()}


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as 90s, 15m, 2h or 1h30m; None if it is not a duration,
    or is zero.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds = (float(number or 0) for number in match.groups())
    return 3600 * hours + 60 * minutes + seconds or None


def read_budget(document: YamlDocument, key: str, node: yaml.Node) -> float | None:
    """Return seconds; None for the word none."""
    text = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    seconds = parse_duration(text)
    if seconds is None and text != "none":
        remedy = "write 90s, 15m, 2h, 1h30m or none"
        document.add_issue(node, f"{key} must be a duration", quote_node(node), remedy)
    return seconds


def read_path(document: YamlDocument, key: str, node: yaml.Node) -> Path | None:
    """Return an existing path, relative to the task's folder."""
    name = read_prose(document, key, node)
    if name is None:
        return None
    path = document.folder / Path(name).expanduser()
    if not path.exists():
        message = f"{key}: this path does not exist"
        document.add_issue(node, message, quote_value(name), suggest_path(path))
    return path


def read_file(document: YamlDocument, key: str, node: yaml.Node) -> Path | None:
    """Return an existing file, relative to the task's folder."""
    path = read_path(document, key, node)
    if (
        path is not None and path.is_dir() and not any(path.glob("**/state.json"))
    ):  # written by `datasets`
        message = f"{key} is a folder, not a file"
        document.add_issue(node, message, quote_node(node), "give a file inside it")
        return None
    return path


def suggest_path(path: Path) -> str:
    """Return the remedy for a path that does not exist."""
    nearest = find_nearest_path(path)
    hint = f"did you mean {nearest.name!r}? Paths" if nearest else "paths"
    return f"{hint} are relative to the folder of the task file"
