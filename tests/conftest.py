"""Fixtures for all tests: flags, and where real data may stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No example has a deadline: a busy machine must not fail a property that holds.
settings.register_profile("desk", deadline=None)
settings.load_profile("desk")
# In CI the same examples every time: a new counterexample is found at the desk, not by a run that fails by chance.
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real", action="store_true", help="also run the tests that use the real model (minutes)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--real"):
        return
    skip = pytest.mark.skip(reason="needs --real: the packaged model and minutes")
    for item in items:
        if "real" in item.keywords:
            item.add_marker(skip)


def data_folder(name: str) -> Path:
    """The folder of a real data set, or a skip with the reason."""
    root = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(f"real data set {name!r} is not at {root}; set ETUDE_DATA to the folder that holds it")
    return root / name
