"""A tokenizer and random language models small enough to be made within a test."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n"
    "' + m['content'] + '<|im_end|>\n"
    "' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n"
    "' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = (
    "my card has not arrived yet, where is it",
    "please cancel the transfer and give the refund to me",
    "user assistant system label labels answer with one word: refund, transfer, card",
    "Größe, façade, 東京, 🙂 and numbers 0123456789",
)


@lru_cache
def _train_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    return core


def build_tokenizer(template: str | None = CHATML, eos: str | None = "<|im_end|>") -> Any:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_train_tokenizer(),
        eos_token=eos,
        pad_token="<|endoftext|>",
        extra_special_tokens=SPECIAL[1:],
    )
    tokenizer.chat_template = template
    return tokenizer


def build_module(kind: str = "llama", seed: int = 0, **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": 400,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "initializer_range": 0.25,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (
            AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(shape | changes)))
            .float()
            .eval()
        )


def save_tiny_model(folder: Path, **changes: Any) -> Path:
    """Saves a tiny model with its tokenizer the way a hub repository holds it."""
    from safetensors.torch import save_file

    module = build_module(**changes)
    build_tokenizer().save_pretrained(folder)
    config = {**module.config.to_dict(), "architectures": [type(module).__name__]}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    tensors = {key: value for key, value in module.state_dict().items() if key != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
