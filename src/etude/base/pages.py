"""One builder of HTML pages that load nothing, and the environment of all templates."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from etude.base import formatting

_FOLDER = Path(__file__).parent


def create_environment(folder: Path, autoescape: bool = True) -> Environment:
    """Create the environment for the templates in `folder` and in this folder.

    With `autoescape`, all values are escaped for HTML. An undefined value raises.
    """
    templates = Environment(
        loader=FileSystemLoader((folder, _FOLDER)),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    templates.globals["wording"] = formatting
    return templates


def render_page(folder: Path, name: str, *assets: str, **values: Any) -> str:
    """Render a page with its style sheets and scripts in it; `assets` are their files, in `folder`
    or in this one.

    The content security policy allows only this style and this script, by their hashes.
    """
    templates = _load_environment(folder)
    for kind in ("css", "js"):
        text = "".join(read_asset(file, folder) for file in assets if file.endswith(f".{kind}"))
        values |= {kind: Markup(text), f"{kind}_hash": hash_source(text)}
    return templates.get_template(name).render(values)


_load_environment = cache(create_environment)


@cache
def read_asset(name: str, folder: Path = _FOLDER) -> str:
    """Read a style sheet or script of `folder`, or else the one that all pages share."""
    file = folder / name
    return (file if file.exists() else _FOLDER / name).read_text(encoding="utf-8")


def hash_source(text: str) -> str:
    """Hash a style or script in the format of a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
