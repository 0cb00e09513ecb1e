"""The cases of a test module that are texts, in a YAML file of its name beside it."""

from pathlib import Path
from typing import Any

import yaml


def read_cases(test_file: str) -> dict[str, Any]:
    """Name of a list -> its texts, or its texts with what is expected of them."""
    cases: dict[str, Any] = yaml.safe_load(
        Path(test_file).with_suffix(".yaml").read_text(encoding="utf-8")
    )
    return cases
