"""The folder for the Hub: its card, what loads from it, and an upload to a stand-in of the Hub."""

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("gguf")

import torch
from safetensors.torch import save_file
from test_export import adapter, tiny_gguf

from etude.assistant import Assistant, load
from etude.base.files import read_json, write_json
from etude.cli import main
from etude.errors import ModelError, RunError, ServiceError
from etude.export import export_for_hub, upload_folder
from etude.models.registry import Models
from etude.models.weights import find_licence_folder, read_licence
from etude.runs import Run
from etude.types import ModelRef
from local_server import serve_handler
from real_runs import real_run
from tiny import save_tiny_model

METHOD = "prompt"


def save_adapter(folder: Path) -> Path:
    folder.mkdir()
    name = "base_model.model.model.layers.0.mlp.down_proj"
    tensors = {
        f"{name}.lora_A.weight": torch.ones(4, 64),
        f"{name}.lora_B.weight": torch.ones(48, 4),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 16,
        "bias": "none",
        "target_modules": ["down_proj"],
        "layers_to_transform": [0],
    }
    write_json(folder / "adapter_config.json", config)
    return folder


@pytest.fixture
def tuned_run(tmp_path: Path) -> Run:
    """A run in which one assistant has an adapter, over a base with a card and a licence."""
    original = real_run()
    shutil.copytree(original.parents[1], tmp_path / "task")
    run = Run(tmp_path / "task" / "runs" / original.name)
    base = save_tiny_model(tmp_path / "base")
    head = "license: other\nlicense_name: tiny\nlicense_link: LICENSE"
    (base / "README.md").write_text(f"---\n{head}\n---\n# A base\n", encoding="utf-8")
    (base / "LICENSE").write_text("Do what is right.", encoding="utf-8")
    folder = run.assistant_folder(METHOD)
    tuned = replace(load(folder), model=ModelRef(str(base), save_adapter(tmp_path / "lora")))
    tuned.save(folder)
    record = run.method_folder(METHOD) / "method.json"
    write_json(record, read_json(record) | {"model": str(base)})
    return run


def read_head(file: Path) -> dict[str, Any]:
    head: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8").split("---\n")[1])
    return head


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft, for a name of transformers
def test_the_folder_loads_in_transformers_and_peft_as_it_was_measured(
    tuned_run: Run, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tuned = load(tuned_run.assistant_folder(METHOD))
    export_for_hub(tuned_run, tuned, tmp_path / "hub")
    own = Models(dtype="float32").get_trainable(tuned.model)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hub")
    messages = [{"role": "user", "content": "where is my card"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False).input_ids])
    assert text == own.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    base = AutoModelForCausalLM.from_pretrained(tuned.model.name, dtype=torch.float32)
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        loaded = peft.PeftModel.from_pretrained(base, tmp_path / "hub")(input_ids=ids).logits
        assert (loaded - own.module(input_ids=ids).logits).abs().max() < 1e-4
    assert (loaded - plain).abs().max() > 0.1
    assert (tmp_path / "hub" / "LICENSE").read_text(encoding="utf-8") == "Do what is right."
    assert json.loads((tmp_path / "hub" / "prompt.json").read_text(encoding="utf-8"))["messages"]


def test_the_card_is_one_that_the_hub_reads(tuned_run: Run, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub.repocard_data import model_index_to_eval_results

    tuned = load(tuned_run.assistant_folder(METHOD))
    result = export_for_hub(tuned_run, tuned, tmp_path / "hub", "me/luma")
    card = hub.ModelCard.load(tmp_path / "hub" / "README.md")
    assert (card.data.license, card.data.license_name, card.data.library_name) == (
        "other",
        "tiny",
        "peft",
    )
    assert card.data.tags == ["etude", "answer", METHOD]
    verdict = tuned_run.verdict
    [estimate] = [row.estimate for row in verdict.ladder if row.method == METHOD]
    name, [measured] = model_index_to_eval_results(
        read_head(tmp_path / "hub" / "README.md")["model-index"]
    )
    assert name == f"{tuned_run.info['name']} {METHOD}"
    assert measured.metric_value == pytest.approx(estimate.value, abs=1e-4)
    assert measured.metric_args["n"] == estimate.n
    assert measured.metric_args["low"] == pytest.approx(estimate.low, abs=1e-4)
    interval = f"95% interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
    assert f"({interval}, n = {estimate.n})" in str(measured.metric_name)
    assert measured.dataset_split == "test"
    text = card.text
    assert "from_pretrained(base, 'me/luma')" in text
    assert "> You are a librarian." in text
    # A path on this machine is not published; what is missing is said.
    assert str(tmp_path) not in card.content
    assert str(tmp_path) not in (tmp_path / "hub" / "adapter_config.json").read_text(
        encoding="utf-8"
    )
    assert "base_model" not in card.data.to_dict()
    assert "publish it too" in result.instructions


def test_an_adapter_over_a_gguf_file_is_published_merged_and_names_no_other_base(
    tuned_run: Run, tmp_path: Path
) -> None:
    folder = tuned_run.assistant_folder(METHOD)
    gguf = tiny_gguf(tmp_path / "base.gguf")
    replace(load(folder), model=ModelRef(str(gguf), adapter(tmp_path / "own"))).save(folder)
    record = tuned_run.method_folder(METHOD) / "method.json"
    write_json(record, read_json(record) | {"model": str(gguf)})
    tuned = load(folder)
    result = export_for_hub(tuned_run, tuned, tmp_path / "hub", "me/luma")
    assert result.model == ModelRef(str(tmp_path / "hub")), (
        "what is measured is what the card loads"
    )
    head = read_head(tmp_path / "hub" / "README.md")
    assert (head["library_name"], "base_model" in head) == ("transformers", False)
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert "AutoModelForCausalLM.from_pretrained('me/luma')" in card
    assert "PeftModel" not in card
    assert "on base.gguf, for a task" in card
    assert not (tmp_path / "hub" / "adapter_config.json").exists()
    assert "publish it too" not in result.instructions


def test_licences_are_read_where_they_are_known(tmp_path: Path) -> None:
    assert read_licence("smollm2-135m-instruct") == {"license": "apache-2.0"}
    assert read_licence("nobody/no-such-model") == {}
    for text in ("no head", "---\n- a list\n---\n", "---\n: [\n---\n", "---\ntags: [a]\n---\n"):
        (tmp_path / "README.md").write_text(text, encoding="utf-8")
        assert read_licence(str(tmp_path)) == {}
    (tmp_path / "README.md").write_text(
        "---\r\nlicense: mit\r\n---\r\n", encoding="utf-8", newline=""
    )
    assert read_licence(str(tmp_path)) == {"license": "mit"}
    packaged = find_licence_folder("smollm2-135m-instruct:4bit")
    assert packaged is None or "Apache" in (packaged / "LICENSE").read_text(encoding="utf-8")
    assert find_licence_folder(f"{tmp_path}:4bit") == tmp_path, "weights that are loaded in 4 bits"


def test_nothing_stays_of_an_export_that_fails(tuned_run: Run, tmp_path: Path) -> None:
    untuned = Assistant("prompt", "answer", ModelRef(str(tmp_path / "base")))
    with pytest.raises(ModelError, match="no adapter"):
        export_for_hub(tuned_run, untuned, tmp_path / "hub")
    tuned = load(tuned_run.assistant_folder(METHOD))
    (tuned_run.method_folder(METHOD) / "method.json").unlink()
    with pytest.raises(RunError):
        export_for_hub(tuned_run, tuned, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


class HubHandler(BaseHTTPRequestHandler):
    """The routes of the Hub that an upload needs."""

    files: dict[str, bytes]
    created: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        host = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            self.created.append(json.loads(body))
            self.reply({"url": f"{host}/me/luma"})
        elif self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            mode = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.reply({"files": [{"path": name, **mode} for name in names]})
        elif self.path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply({"success": True, "commitOid": "1", "commitUrl": f"{host}/me/luma/commit/1"})
        else:
            self.reply({"errors": [], "warnings": []})

    def do_GET(self) -> None:
        self.reply({"id": "me/luma", "sha": "0", "siblings": []})

    def reply(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a stand-in of the Hub on this machine."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    HubHandler.files = {}
    HubHandler.created = []
    with serve_handler(HubHandler) as url:
        yield url.removesuffix("/v1")


def test_an_upload_sends_every_file_to_a_private_repository(
    hub_server: str, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Luma\n", encoding="utf-8")
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert upload_folder(tmp_path, "me/luma", hub_server) == f"{hub_server}/me/luma"
    assert HubHandler.files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    [created] = HubHandler.created
    assert created.get("private") is True or created["visibility"] == "private"


def test_an_upload_that_fails_says_how_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceError, match="hf upload me/luma"):
        upload_folder(tmp_path, "me/luma", "http://127.0.0.1:9")


def test_nothing_is_uploaded_without_a_yes(
    tuned_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent: list[tuple[Path, str]] = []

    def upload(folder: Path, repo: str) -> str:
        sent.append((folder, repo))
        return "URL"

    monkeypatch.setattr("etude.cli.exporting.upload_folder", upload)
    words = [
        "export",
        str(tuned_run.folder),
        "--to",
        "hub",
        "-m",
        METHOD,
        "--no-test",
        "--repo",
        "me/luma",
    ]
    assert main([*words, "-o", str(tmp_path / "a")]) == 1
    printed = capsys.readouterr()
    assert not sent
    asked = "with the task's instructions, to me/luma on the Hugging Face Hub?"
    assert asked in " ".join(printed.out.split())
    assert "Nothing was uploaded" in printed.err
    assert main([*words, "-o", str(tmp_path / "b"), "--yes"]) == 0
    assert sent == [(tmp_path / "b", "me/luma")]
    for wrong in (["--to", "adapter", "--repo", "me/luma"], ["--to", "hub", "--repo", "luma"]):
        assert (
            main(["export", str(tuned_run.folder), "-m", METHOD, "-o", str(tmp_path / "c"), *wrong])
            == 2
        )
    folder = str(tuned_run.assistant_folder(METHOD))
    assert main(["export", folder, "--to", "hub", "-o", str(tmp_path / "d")]) == 0
