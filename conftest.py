"""Fixtures for all tests: flags, and where real data may stand."""

import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No example has a deadline: a busy machine must not fail a property that holds.
settings.register_profile("desk", deadline=None)
settings.load_profile("desk")
# In CI the same examples every time: a new counterexample is found at the desk, not by a run that
# fails by chance.
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# How wide the terminal of the tests is decides nothing.
os.environ.pop("COLUMNS", None)
# No power is cut during a test, and waiting for the disk takes half of a small comparison. What is
# flushed, and when, is tested in test_files.py.
os.fsync = lambda handle: None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real", action="store_true", help="also run the tests that use the real model (minutes)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="etude-runs-")
        os.environ["ETUDE_TEST_RUNS"] = folder
        os.environ["ETUDE_RECORD_KEY"] = f"{folder}/key/record.key"


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["ETUDE_TEST_RUNS"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--real"):
        return
    skip = pytest.mark.skip(reason="needs the packaged model or over a second; to run: make real")
    for item in items:
        if "real" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported stays, and rubbish is looked for seldom: it would take a twentieth of the
    time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names every kind of skipped test, how many they are, and how to run them."""
    reports = terminalreporter.stats.get("skipped", [])
    kinds = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    if kinds:
        terminalreporter.section("not run", yellow=True)
    for reason, count in kinds.most_common():
        terminalreporter.write_line(
            f"{count:4} {'test' if count == 1 else 'tests'}: {reason}", yellow=True
        )


def data_folder(name: str) -> Path:
    """The folder of a real data set, or a skip with the reason."""
    root = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[1] / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(
            f"no real data set {name!r}; to run: set ETUDE_DATA to the folder that holds it (now "
            f"{root})"
        )
    return root / name


@pytest.fixture(scope="module")
def two_nodes(request: pytest.FixtureRequest) -> Iterator[object]:
    """A Ray cluster of two nodes with one core each; this process is connected to it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray", reason="pip install 'etude[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    ray.cloudpickle.register_pickle_by_value(request.module)  # the nodes cannot import the tests
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    from test_encoder import tiny_encoder

    tiny_encoder().save(tmp_path / "encoder")
    return str(tmp_path / "encoder")


@pytest.fixture(scope="session")
def compared_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task file of a small task with a complete run; tests change nothing beside it but what
    `studio_task` removes.
    """
    from real_runs import copy_task

    more = "methods: [baseline, prompt]\nmetric: exact_match\n"
    return copy_task(tmp_path_factory.mktemp("studio") / "task", more=more)


@pytest.fixture
def studio_task(compared_task: Path) -> Iterator[Path]:
    """The same task file, without the feedback and the queue of other tests of the studio."""
    yield compared_task
    folder = compared_task.parent
    for file in (
        folder / "feedback.jsonl",
        *folder.glob("made.*"),
        *(folder / "runs").glob("studio.*"),
    ):
        file.unlink(missing_ok=True)
