"""Documents that `etude index` fetches: web pages, or the rows of a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from etude.errors import quote_value
from etude.task.definition import Remote
from etude.task.endpoint import is_url
from etude.task.readers import existing, prose, ruled, texts
from etude.task.rules import number
from etude.task.yaml_nodes import Page, Reader

FOLDER = "index"
"""Beside the task file: what `etude index` keeps."""
_VARIABLE = re.compile(r"env:([A-Za-z_]\w*)")
_WAYS = ("urls", "sitemap", "sql")


def kept_folder(file: Path) -> Path:
    """Where `etude index` keeps what it has made for a task file."""
    return file.parent / FOLDER / file.stem


def documents(page: Page, key: str, node: yaml.Node) -> Path | Remote | None:
    """A path that is there, or {urls: [...]}, {sitemap: URL} or {sql: QUERY, url: env:VARIABLE}."""
    if not isinstance(node, yaml.MappingNode):
        return existing(page, key, node)
    nodes = page.mapping(node, _KEYS, key)
    given = {name: _KEYS[name](page, f"{key}.{name}", part) for name, part in nodes.items()}
    ways = [name for name in _WAYS if name in nodes]
    if len(ways) != 1:
        page.fault(node, f"{key} needs one of {', '.join(_WAYS)}", ", ".join(ways), "keep or add one of them")
    elif ("sql" in nodes) != ("url" in nodes):
        page.fault(node, f"{key}: sql and url belong together", "", "write {sql: QUERY, url: env:VARIABLE}")
    found = {name: value for name, value in given.items() if value is not None}
    return Remote(kept_folder(page.folder / page.name) / "documents", **found)


def _urls(page: Page, key: str, node: yaml.Node) -> tuple[str, ...]:
    urls = texts(page, key, node)
    for url in urls:
        if not is_url(url):
            page.fault(
                node, f"{key} holds what is no address of a page", quote_value(url), "write https://..."
            )
    return urls


def _sitemap(page: Page, key: str, node: yaml.Node) -> str | None:
    return next(iter(_urls(page, key, node)), None)


def _variable(page: Page, key: str, node: yaml.Node) -> str | None:
    match = _VARIABLE.fullmatch(str(node.value))
    if match is None:
        what = f"{key} must name an environment variable, which holds the address of the database"
        page.fault(node, what, "", "export it as a variable and write url: env:ITS_NAME")
    return match and match[1]


_KEYS: Mapping[str, Reader] = {
    "urls": _urls,
    "sitemap": _sitemap,
    "pages": ruled(number(1, whole=True)),
    "sql": prose,
    "url": _variable,
}
