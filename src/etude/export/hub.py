"""Export for the Hugging Face Hub: a folder with weights, tokenizer, licence and card, and its
upload.
"""

import shlex
from dataclasses import replace
from pathlib import Path
from shutil import copy

from etude.assistant import Assistant
from etude.base.files import read_json, remove_folder, write_json
from etude.base.formatting import format_count, format_size
from etude.errors import ServiceError
from etude.export.targets import PROMPT_FILE, ExportResult, describe_losses, export_weights
from etude.models import weights
from etude.models.registry import Models
from etude.runs import Run
from etude.suites.card import write_card

HUB = "hub"
_LOAD_ADAPTER = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base!r})
model = PeftModel.from_pretrained(base, {repo!r})"""
_LOAD_WHOLE = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({repo!r})"""
_USAGE = """```python
{code}
tokenizer = AutoTokenizer.from_pretrained({repo!r})
```

{losses}"""


def export_for_hub(run: Run, assistant: Assistant, path: Path, repo: str = "") -> ExportResult:
    """Write a folder that `hf upload` takes: the adapter or the merged weights, the tokenizer, the
    base's licence, the prompt and the card. The card loads the weights from `repo` (default: the
    folder's name). The Hub does not have the base of an adapter over a GGUF file, so such an
    adapter is merged.

    Nothing is sent. After an error, the folder is removed. Raises ModelError if there are no tuned
    weights, RunError if the run has no assistant, OSError.
    """
    base = assistant.model.name
    is_merged = assistant.model.adapter is not None and weights.is_gguf(base)
    result = export_weights(assistant, "merged" if is_merged else "adapter", path)
    try:
        if not is_merged:
            Models().get_trainable(assistant.model).tokenizer.save_pretrained(path)
            # a path on this machine is not for a repository that others read
            config = read_json(path / weights.CONFIG_FILE)
            write_json(
                path / weights.CONFIG_FILE,
                config | {"base_model_name_or_path": weights.describe_base(base)},
            )
        folder = weights.find_licence_folder(base)
        for file in sorted(folder.glob(weights.LICENCE_FILES)) if folder else ():
            copy(file, path / file.name)
        repo = repo or path.name
        template = _LOAD_WHOLE if is_merged else _LOAD_ADAPTER
        code = template.format(base=weights.describe_base(base), repo=repo)
        usage = _USAGE.format(code=code, repo=repo, losses=describe_losses(assistant))
        write_card(run, assistant.method, path / weights.CARD_FILE, usage)
    except BaseException:
        remove_folder(path)
        raise
    command = shlex.join(["hf", "upload", repo, str(path), ".", "--private"])
    return replace(result, instructions="\n".join([command, *describe_gaps(base, is_merged)]))


def describe_gaps(base: str, is_merged: bool) -> list[str]:
    """Describe what the publisher must still do: name the base's licence; publish the base of an
    adapter.
    """
    gaps = []
    if not weights.read_licence(base):
        gaps.append(f"The licence of {base} is unknown: add `license:` to {weights.CARD_FILE}.")
    if not is_merged and weights.find_hub_id(base) is None:
        gaps.append(
            f"{base} is not on the Hub: publish it too, and add `base_model:` to "
            f"{weights.CARD_FILE}."
        )
    return gaps


def describe_upload(folder: Path, repo: str, assistant: Assistant) -> str:
    """Build the question that is asked before an upload: how much is sent, and what others could
    read in it.
    """
    files = [file for file in folder.rglob("*") if file.is_file()]
    size = format_size(sum(file.stat().st_size for file in files))
    readable = ["the task's instructions"] if assistant.instructions else []
    if assistant.shots:
        readable.append(f"{format_count(len(assistant.shots), 'training row')} ({PROMPT_FILE})")
    texts = f", with {' and '.join(readable)}," if readable else ""
    return (
        f"Upload {format_count(len(files), 'file')} ({size}){texts} to {repo} on the Hugging Face "
        "Hub? A new repository is private; an existing one stays as it is."
    )


def upload_folder(folder: Path, repo: str, endpoint: str | None = None) -> str:
    """Upload a folder as a model repository, created as a private one if absent; return its URL.

    `endpoint` replaces the Hub's address. Raises ServiceError if the Hub refuses or cannot be
    reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        hub = HfApi(endpoint=endpoint)
        url = hub.create_repo(repo, private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=url.repo_id, folder_path=folder, commit_message="Upload from etude export"
        )
    except (HTTPError, OSError, ValueError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ServiceError(
            f"{folder} was not uploaded to {repo} ({reason}). Log in with `hf auth login`, and "
            f"upload it with `hf upload {repo} {folder}`."
        ) from error
    return str(url)
