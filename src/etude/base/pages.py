"""What every page of Étude's is made with: its templates' environment, its style, and the hashes of its policy."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE = Path(__file__).parent


def environment(folder: Path) -> Environment:
    """Make the environment for the templates of `folder` and of this folder. All values are escaped, and an undefined
    one raises."""
    return Environment(
        loader=FileSystemLoader((folder, _HERE)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def asset(name: str) -> str:
    """A file that stands in a page: style or script."""
    return (_HERE / name).read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """What a content security policy calls a style or script of the page by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
