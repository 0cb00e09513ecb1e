"""What an assistant is written as: one function for each target."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

from etude.assistant import Assistant
from etude.base.files import folder_aside, write_text
from etude.errors import ModelError
from etude.models.registry import Models
from etude.types import Message, ModelRef

PROBE = "THE-QUESTION"


@dataclass(frozen=True)
class Exported:
    """What was written, and how to use it."""

    path: Path
    model: ModelRef | None
    """The weights as the engine that will use them reads them; None if no engine here does."""
    use: str
    """A line that says what to do with it."""


def export(assistant: Assistant, target: str, place: Path, kind: str = "q8_0") -> Exported:
    """Writes an assistant's weights to `place` as a `target` of TARGETS; `kind` is the type of GGUF weights.

    Raises ModelError for a target that these weights cannot be, OSError if the disk does not take it.
    """
    return TARGETS[target](assistant, place, kind)


def _adapter(assistant: Assistant, place: Path, kind: str) -> Exported:
    tuned = _tuned(assistant)
    if (tuned / "config.json").exists():
        raise ModelError("All weights were tuned, so there is no adapter. Export --to merged.")
    with folder_aside(place) as aside:
        copytree(tuned, aside, dirs_exist_ok=True)
    model = ModelRef(assistant.model.name, place)
    return Exported(
        place, model, f"PEFT's format, over {assistant.model.name}: PeftModel.from_pretrained(base, {place})"
    )


def _merged(assistant: Assistant, place: Path, kind: str) -> Exported:
    from etude.models.loading import save_weights

    found = Models().trainable(assistant.model)
    with folder_aside(place) as aside:
        found.tokenizer.save_pretrained(aside)
        save_weights(found.module, aside)
    return Exported(place, ModelRef(str(place)), f"AutoModelForCausalLM.from_pretrained({str(place)!r})")


def _gguf(assistant: Assistant, place: Path, kind: str) -> Exported:
    from etude.models.llama_cpp.gguf import base_file, write_merged

    write_merged(base_file(assistant.model.name), assistant.model.adapter, place, kind)
    return Exported(place, ModelRef(f"llama_cpp:{place}"), f"llama-server --model {shlex.quote(str(place))}")


def _lora(assistant: Assistant, place: Path, kind: str) -> Exported:
    from etude.models.llama_cpp.gguf import base_file, write_adapter

    base = base_file(assistant.model.name)
    write_adapter(base, _tuned(assistant), place)
    model = ModelRef(f"llama_cpp:{assistant.model.name}", place)
    return Exported(place, model, shlex.join(["llama-server", "--model", str(base), "--lora", str(place)]))


def _ollama(assistant: Assistant, place: Path, kind: str) -> Exported:
    does: dict[str, object] = {"looks passages up": assistant.search, "looks examples up": assistant.similar}
    does |= {"is kept to its labels": assistant.choices, "is kept to its contract": assistant.enforced}
    if what := next((what for what, there in does.items() if there), None):
        raise ModelError(f"This assistant {what}, which Ollama cannot. Use etude serve.")
    weights = _gguf(assistant, place / "model.gguf", kind)
    write_text(place / "Modelfile", modelfile(assistant, Models()))
    name = shlex.quote(place.name)
    return replace(
        weights, path=place, use=f"ollama create {name} -f {shlex.quote(str(place / 'Modelfile'))}"
    )


def _vllm(assistant: Assistant, place: Path, kind: str) -> Exported:
    found = _adapter(assistant, place, kind)
    config = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
    line = ["vllm", "serve", assistant.model.name, "--enable-lora", "--max-lora-rank", str(config["r"])]
    return replace(found, use=shlex.join([*line, "--lora-modules", f"{place.name}={place}"]))


TARGETS: Mapping[str, Callable[[Assistant, Path, str], Exported]] = {
    "adapter": _adapter,
    "merged": _merged,
    "gguf": _gguf,
    "lora": _lora,
    "ollama": _ollama,
    "vllm": _vllm,
}
"""Name -> what writes it: PEFT's adapter, a folder for transformers, one GGUF file, a GGUF adapter over the base's own
file, a folder for Ollama, PEFT's adapter with the command of vLLM."""


def modelfile(assistant: Assistant, models: Models) -> str:
    """Ollama's Modelfile beside model.gguf: the prompt word for word as it was measured, for a question of one turn."""
    model = models.trainable(assistant.model)
    before, after = model.render_text(assistant.messages((Message("user", PROBE),))).split(PROBE)
    ends = sorted(model.tokenizer.convert_ids_to_tokens(sorted(model.stop)))  # type: ignore[attr-defined]
    template = f"{_literal(before)}{{{{ .Prompt }}}}{_literal(after)}{{{{ .Response }}}}"
    lines = ["FROM ./model.gguf", f'TEMPLATE """{template}"""', "PARAMETER temperature 0"]
    lines += [
        f"PARAMETER num_predict {assistant.max_tokens}",
        f"PARAMETER num_ctx {min(model.context, 8192)}",
    ]
    return "\n".join([*lines, *(f"PARAMETER stop {json.dumps(end)}" for end in ends)]) + "\n"


def _literal(text: str) -> str:
    """A text in a template of Go's, word for word."""
    return text.replace("{{", '{{ "{{" }}').replace('"""', '{{ "\\"\\"\\"" }}')


def _tuned(assistant: Assistant) -> Path:
    if assistant.model.adapter is None:
        raise ModelError(
            f"{assistant.method} tunes no weights: there is no adapter to export. Serve it with etude serve."
        )
    return assistant.model.adapter
