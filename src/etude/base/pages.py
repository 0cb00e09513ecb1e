"""What all templates share, and all HTML pages: the style, and the hashes for the security policy."""

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).parent


def create_environment(folder: Path, autoescape: bool = True) -> Environment:
    """Create the environment for the templates in `folder` and in this folder.

    With `autoescape`, all values are escaped for HTML. An undefined value raises.
    """
    return Environment(
        loader=FileSystemLoader((folder, _FOLDER)),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def read_asset(name: str) -> str:
    """Read a style sheet or script that is embedded in pages."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def hash_source(text: str) -> str:
    """Hash a style or script in the format of a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
