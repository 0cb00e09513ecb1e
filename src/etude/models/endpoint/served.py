"""Weights of this machine that a server computes with, so that what is served at scale is what is
measured.

The server has the base, and gets each adapter under a name that is a hash of its weights. The
requests for that are vLLM's; a server that does not know them can have the adapter under this name
from its start.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from threading import Event

from etude.base.files import Json
from etude.errors import ServiceError
from etude.models import registry
from etude.models.endpoint import client
from etude.models.endpoint.model import EndpointModel, build_model, find_endpoint
from etude.task import Endpoint
from etude.task.endpoint import split_served
from etude.types import ModelRef, Request, Sampling


class ServedWeights(EndpointModel):
    """The base at an endpoint, or an adapter over it. Choices and grammars are sent as vLLM's
    structured outputs.
    """

    def _build_body(self, request: Request, sampling: Sampling | None = None) -> Json:
        body = super()._build_body(request, sampling)
        if "structured_outputs" not in self._rejected:
            if request.choices:
                body["structured_outputs"] = {"choice": list(request.choices)}
            elif request.grammar and request.grammar.kind == "json_schema":
                body["structured_outputs"] = {"json": json.loads(request.grammar.text)}
            elif request.grammar:
                body["structured_outputs"] = {"regex": request.grammar.text}
        return body


def load(ref: ModelRef, models: registry.Models) -> EndpointModel:
    """Load the model that `ref` names: the server's base, with the adapter loaded into the server
    if it lacks it.

    Raises ServiceError if the server cannot be reached or takes no adapter.
    """
    endpoint = find_endpoint(split_served(ref.name)[1], models, "engine: URL#NAME")
    if ref.adapter:
        endpoint = replace(endpoint, model=load_adapter(endpoint, ref.adapter))
    return build_model(endpoint, models, ServedWeights)


def load_adapter(endpoint: Endpoint, folder: Path) -> str:
    """Load an adapter into the server, unless it has it; return its name there. The server reads
    the folder.
    """
    [weights] = folder.glob("*.safetensors")
    name = f"etude-{hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}"
    server = client.Client(endpoint, Event())
    if name not in server.list_models():
        try:
            server.request_change(
                "load_lora_adapter", {"lora_name": name, "lora_path": str(folder.absolute())}
            )
        except ServiceError as error:
            raise ServiceError(
                f"{endpoint.url} has no adapter {name} and loads none ({error}). Start it with "
                "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or with --lora-modules "
                f"{name}={folder.absolute()}, and run the same command again."
            ) from error
    return name
