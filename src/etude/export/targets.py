"""Export an assistant's weights: one function for each target."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copymode, copytree

from etude.assistant import Assistant
from etude.base.files import atomic_folder, write_json, write_text
from etude.errors import ModelError
from etude.models.registry import Models
from etude.models.weights import CONFIG_FILE, describe_base, find_hub_id, is_gguf, split_bits
from etude.types import Message, ModelRef

PLACEHOLDER = "THE-QUESTION"
PROMPT_FILE = "prompt.json"
MAX_CONTEXT = (
    8_192  # tokens of the context in a Modelfile; most machines have too little memory for more
)


@dataclass(frozen=True)
class ExportResult:
    """The exported files and how to use them."""

    path: Path
    model: ModelRef | None  # the weights for an engine of Étude; None if no engine can load them
    instructions: str  # one line for the user


def export_weights(
    assistant: Assistant, target: str, path: Path, kind: str = "q8_0"
) -> ExportResult:
    """Write an assistant's weights to `path` as a `target` of TARGETS; `kind` is the type of GGUF
    weights.

    `prompt.json`, in the folder of the weights or next to their file, shows the messages for a
    question. Raises ModelError if these weights cannot be exported to the target, OSError if the
    disk fails.
    """
    # Other programs get the base in its own precision, and quantise it in their own way.
    full = replace(
        assistant, model=replace(assistant.model, name=split_bits(assistant.model.name)[0])
    )
    result = TARGETS[target](full, path, kind)
    passages = [
        f"PASSAGE-{number}" for number in range(1, assistant.num_passages + 1) if assistant.search
    ]
    question = Message("user", "\n\n".join([PLACEHOLDER, *passages]))
    messages = [
        {"role": turn.role, "content": turn.content}
        for turn in assistant.build_messages((question,))
    ]
    file = path / PROMPT_FILE if path.is_dir() else path.with_suffix(f".{PROMPT_FILE}")
    write_json(file, {"messages": messages, "max_tokens": assistant.max_tokens, "temperature": 0})
    for weights in path.glob("*.safetensors"):  # the library lets only the owner read them
        copymode(file, weights)
    return result


def describe_losses(assistant: Assistant) -> str:
    """Describe which parts of an assistant are not in its weights, and how to keep them."""
    parts: dict[str, object] = {
        "the search for passages": assistant.search,
        "the search for similar examples": assistant.similar,
        "instructions": assistant.instructions,
        "examples in the prompt": assistant.shots,
        "the list of labels": assistant.choices,
        "the enforced contract": assistant.enforced,
        "the limits": assistant.has_limits,
    }
    if not (lost := [name for name, value in parts.items() if value]):
        return "The weights contain the whole assistant."
    return (
        f"The exported weights do not contain {', '.join(lost)}. {PROMPT_FILE} shows the messages "
        "that the other program must send for a question. To keep everything, run the weights in "
        "the other program and use them through etude serve PLACE --engine URL#MODEL."
    )


def export_adapter(assistant: Assistant, path: Path, kind: str) -> ExportResult:
    """Export the adapter in PEFT's format, with the base that it was trained on."""
    adapter = _get_adapter(assistant)
    base = find_base(assistant)
    with atomic_folder(path) as folder:
        copytree(adapter, folder, dirs_exist_ok=True)
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        write_json(folder / CONFIG_FILE, config | {"base_model_name_or_path": base})
    origin = (
        f" (unpacked from {describe_base(assistant.model.name)})"
        if is_gguf(assistant.model.name)
        else ""
    )
    usage = f"PEFT's format, over {base}{origin}: PeftModel.from_pretrained(base, {path})"
    return ExportResult(path, ModelRef(assistant.model.name, path), usage)


def export_merged(assistant: Assistant, path: Path, kind: str) -> ExportResult:
    """Export base and adapter as a folder for transformers."""
    from etude.models.local.loading import save_weights

    model = Models().get_trainable(assistant.model)
    with atomic_folder(path) as folder:
        model.tokenizer.save_pretrained(folder)
        save_weights(model.module, folder)
    return ExportResult(
        path, ModelRef(str(path)), f"AutoModelForCausalLM.from_pretrained({str(path)!r})"
    )


def export_gguf(assistant: Assistant, path: Path, kind: str) -> ExportResult:
    """Export base and adapter as one GGUF file."""
    from etude.models.llama_cpp.gguf import find_base_file, write_merged

    write_merged(find_base_file(assistant.model.name), assistant.model.adapter, path, kind)
    usage = f"llama-server --model {shlex.quote(str(path))}"
    return ExportResult(path, ModelRef(f"llama_cpp:{path}"), usage)


def export_lora(assistant: Assistant, path: Path, kind: str) -> ExportResult:
    """Export a GGUF adapter over the base's own file."""
    from etude.models.llama_cpp.gguf import find_base_file, write_adapter

    base = find_base_file(assistant.model.name)
    write_adapter(base, _get_adapter(assistant), path)
    usage = shlex.join(["llama-server", "--model", str(base), "--lora", str(path)])
    return ExportResult(path, ModelRef(f"llama_cpp:{assistant.model.name}", path), usage)


def export_ollama(assistant: Assistant, path: Path, kind: str) -> ExportResult:
    """Export a folder with a GGUF file and a Modelfile. Raises ModelError for features that Ollama
    lacks.
    """
    features: dict[str, object] = {
        "retrieves passages": assistant.search,
        "retrieves examples": assistant.similar,
        "is constrained to its labels": assistant.choices,
        "is constrained to its contract": assistant.enforced,
    }
    if unsupported := next((feature for feature, value in features.items() if value), None):
        raise ModelError(
            f"This assistant {unsupported}, which Ollama does not support. Use etude serve."
        )
    weights = export_gguf(assistant, path / "model.gguf", kind)
    write_text(path / "Modelfile", build_modelfile(assistant, Models()))
    modelfile = shlex.quote(str(path / "Modelfile"))
    usage = f"ollama create {shlex.quote(path.name)} -f {modelfile}"
    return replace(weights, path=path, instructions=usage)


def export_vllm(assistant: Assistant, path: Path, kind: str) -> ExportResult:
    """Export PEFT's adapter, and return the command with which vLLM serves it."""
    result = export_adapter(assistant, path, kind)
    config = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    base = config["base_model_name_or_path"]
    command = ["vllm", "serve", base, "--enable-lora", "--max-lora-rank", str(config["r"])]
    usage = shlex.join([*command, "--lora-modules", f"{path.name}={path}"])
    return replace(result, instructions=usage)


TARGETS: Mapping[str, Callable[[Assistant, Path, str], ExportResult]] = {
    "adapter": export_adapter,
    "merged": export_merged,
    "gguf": export_gguf,
    "lora": export_lora,
    "ollama": export_ollama,
    "vllm": export_vllm,
}


def build_modelfile(assistant: Assistant, models: Models) -> str:
    """Build Ollama's Modelfile for model.gguf, with exactly the measured prompt for a question of
    one turn.
    """
    model = models.get_trainable(assistant.model)
    messages = assistant.build_messages((Message("user", PLACEHOLDER),))
    template = (
        model.render_text(messages).replace("{{", '{{ "{{" }}').replace('"""', '{{ "\\"\\"\\"" }}')
    )
    before, after = template.split(PLACEHOLDER)
    stops = sorted(model.tokenizer.convert_ids_to_tokens(sorted(model.end_tokens)))  # type: ignore[attr-defined]
    lines = [
        "FROM ./model.gguf",
        f'TEMPLATE """{before}{{{{ .Prompt }}}}{after}{{{{ .Response }}}}"""',
        "PARAMETER temperature 0",
        f"PARAMETER num_predict {assistant.max_tokens}",
        f"PARAMETER num_ctx {min(model.context, MAX_CONTEXT)}",
        *(f"PARAMETER stop {json.dumps(stop)}" for stop in stops),
    ]
    return "\n".join(lines) + "\n"


def find_base(assistant: Assistant) -> str:
    """Find the weights that an adapter was trained on, as other programs load them: a hub id or a
    folder. For a GGUF file this is the folder in Étude's cache with its unpacked weights.
    """
    name = assistant.model.name
    return (
        str(Models().get_trainable(ModelRef(name)).folder)
        if is_gguf(name)
        else find_hub_id(name) or name
    )


def _get_adapter(assistant: Assistant) -> Path:
    if assistant.model.adapter is None:
        raise ModelError(
            f"{assistant.method} does not tune weights, so there is no adapter to export. Use "
            "etude serve."
        )
    return assistant.model.adapter
