"""Hooks of mkdocs: README.md is the first page, and files outside docs/ that pages link to are part
of the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(\.\./)?([^)#:\s]+)(?=[)#])")
FILES = "files"
"""Folder of the site with the files outside docs/."""


def on_files(files: Any, config: Any) -> Any:
    """Adds README.md as index.md, and the linked files outside docs/."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "index.md", content=read_first_page()))
    pages = [file.content_string for file in files.documentation_pages()]
    for path in sorted({path for page in pages for path in list_outside(page)}):
        source = ROOT / path
        names = (
            sorted(str(file.relative_to(source)) for file in source.iterdir())
            if source.is_dir()
            else ()
        )
        content = "\n".join(names).encode() if source.is_dir() else source.read_bytes()
        files.append(File.generated(config, f"{FILES}/{path.rstrip('/')}.txt", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Points the links that leave docs/ to the files of the site."""
    return LINK.sub(
        lambda match: f"{FILES}/{match[2].rstrip('/')}.txt" if match[1] else match[0], markdown
    )


def read_first_page() -> str:
    """Returns README.md with links as from docs/."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    def move(match: re.Match[str]) -> str:
        return match[2].removeprefix("docs/") if match[2].startswith("docs/") else f"../{match[2]}"

    return LINK.sub(move, text)


def list_outside(page: str) -> set[str]:
    """Lists the files and folders outside docs/ that a page links to. Raises FileNotFoundError for
    a missing one.
    """
    paths = {match[2] for match in LINK.finditer(page) if match[1]}
    if missing := sorted(path for path in paths if not (ROOT / path).exists()):
        raise FileNotFoundError(f"A page links to {missing[0]}, which does not exist.")
    return paths
