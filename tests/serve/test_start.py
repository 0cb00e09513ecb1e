"""What a server loads before it answers."""

import socket
import subprocess
import sys
from pathlib import Path

from etude.assistant import Assistant
from etude.types import ModelRef
from etude.web.connections import open_listener

SCRIPT = """
import sys
from etude.models.registry import Models
from etude.serve.app import build_app
from etude.serve.catalogue import load_catalogue
from etude.serve.engine import ServingEngine
from etude.serve.server import ServerSettings
catalogue = load_catalogue([sys.argv[1]], engine="auto")
engine = ServingEngine(Models())
build_app(catalogue, engine, ServerSettings())
engine.run_and_wait(lambda: engine.models.get(catalogue["luma"].assistant.model))
engine.close()
print(sorted({"torch", "transformers", "xllamacpp"} & {*sys.modules}))
"""


def test_an_assistant_that_needs_no_torch_does_not_import_it(tmp_path: Path) -> None:
    Assistant("prompt", "answer", ModelRef("fake")).save(tmp_path / "luma")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "luma")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_the_body_of_an_answer_does_not_wait_for_an_acknowledgement_of_its_head() -> None:
    with (
        open_listener("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
