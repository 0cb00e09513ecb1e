"""Find models of servers on this machine, such as Ollama, to propose them as `prompt_model:`."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from etude.base.files import parse_json

# The usual ports of servers with OpenAI's API.
SERVERS: Mapping[int, str] = {11434: "Ollama", 1234: "LM Studio", 8080: "llama.cpp", 8000: "vLLM"}
HOST = "127.0.0.1"
MAX_SECONDS = 0.3  # to wait for one server
# of a list of models, and characters of a name
_MAX_BYTES = 2**20
_MAX_LENGTH = 200


@dataclass(frozen=True)
class ModelProposal:
    """The first model in the list of a server."""

    server: str
    port: int
    name: str

    @property
    def setting(self) -> str:
        """The model as a value of the task file."""
        value = {"endpoint": f"http://{HOST}:{self.port}/v1", "model": self.name}
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()


def find_local_models(
    servers: Mapping[int, str] | None = None, max_seconds: float | None = None
) -> list[ModelProposal]:
    """The models of the servers that answer in time, in the order of SERVERS. The only request is
    GET /v1/models.
    """
    servers = servers or SERVERS
    max_seconds = max_seconds or MAX_SECONDS
    names = {port: _read_first_model(port, max_seconds) for port in servers}
    return [
        ModelProposal(server, port, names[port]) for port, server in servers.items() if names[port]
    ]


def _read_first_model(port: int, timeout: float) -> str:
    """The name of the first model that a server lists, except models for embeddings; "" without
    one.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", "/v1/models")
        response = connection.getresponse()
        content: Any = (
            parse_json(response.read(_MAX_BYTES).decode()) if response.status == 200 else {}
        )
        models = [model for model in content["data"] if model.get("owned_by") != "etude"]
        names = [model["id"] for model in models if "embed" not in model["id"].casefold()]
        # A name is written into a comment of the task file, so a line break in it would set keys.
        return next((name for name in names if name.isprintable() and len(name) <= _MAX_LENGTH), "")
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return ""
    finally:
        connection.close()
