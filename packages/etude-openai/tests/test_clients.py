"""Clients that people use, each in a virtual environment of its own, because their requirements
exclude each other.

The environments are folders of ETUDE_CLIENTS (~/.cache/etude/clients); one is made by

    python -m venv ~/.cache/etude/clients/openai1
    ~/.cache/etude/clients/openai1/bin/pip install 'openai==1.99.*'
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hosting import extend

from etude.assistant import Assistant
from etude.serve.server import ServerSettings
from etude.task.contract import Contract
from etude.types import ModelRef
from etude_openai.hosted.stores import HostedStores
from serving import serve_as, serving
from tiny import save_tiny_model

FOLDER = Path(os.environ.get("ETUDE_CLIENTS") or Path.home() / ".cache" / "etude" / "clients")
CLIENTS = {
    "openai1": ("openai_client.py", "openai==1.99.*"),
    "openai2": ("openai_client.py", "openai==2.*"),
    "openai3": ("openai_client.py", "openai==3.*"),
    "langchain": ("langchain_client.py", "langchain-openai"),
    "llama_index": ("llama_index_client.py", "llama-index-llms-openai-like"),
}


@pytest.mark.real
@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_gets_what_it_asks_for(name: str, encoder: str, tmp_path: Path) -> None:
    script, requirement = CLIENTS[name]
    python = FOLDER / name / "bin" / "python"
    if not python.exists():
        pytest.skip(
            f"no {python}; to run: python -m venv {FOLDER / name}, and pip install "
            f"'{requirement}' there"
        )
    folder = save_tiny_model(tmp_path / "tiny", max_position_embeddings=4096)
    tiny = Assistant("prompt", "answer", ModelRef(str(folder)), max_tokens=60)
    labels = ("card", "refund")
    sorter = replace(tiny, kind="classify", choices=labels, contract=Contract(labels=labels))
    settings = ServerSettings(encoder=encoder)
    stores = HostedStores(tmp_path / "data", {"encoder": encoder})
    served = (serve_as("tiny", tiny), serve_as("sorter", sorter))
    with serving(*served, settings=settings, extensions=extend(stores)) as url:
        command = [str(python), str(Path(__file__).parent / "clients" / script), url]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.startswith("ok")
