"""The step `prefer`: files of pairs, their sides, and weights trained on them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import SETTINGS, shake_weights, tiny_model

from etude.assistant import Assistant
from etude.comparison.compare import compare
from etude.data.dataset import load_dataset
from etude.data.formats.tools import append_tools, format_tools
from etude.data.preferences import group_by_side, read_preferences
from etude.data.splits import split
from etude.errors import InputError
from etude.models.local.adapters import apply_adapter, stack_adapters
from etude.task import load_task
from etude.training.layers.lora import add_adapters, save_adapter
from etude.types import Message, ModelRef
from small_task import rows, write_task
from tiny import save_tiny_model

ASKED = [{"role": "user", "content": "Hi"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Good day.", "rejected": "What?"},
        {"prompt": ASKED, "chosen": said("Good day."), "rejected": said("What?")},
        {"chosen": ASKED + said("Good day."), "rejected": ASKED + said("What?")},
        {
            "input": {"messages": ASKED},
            "preferred_output": said("Good day."),
            "non_preferred_output": said("What?"),
        },
        {
            "chosen": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Good day."}],
            "rejected": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "What?"}],
        },
    ],
)
def test_every_usual_shape_of_pairs_is_read(row: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n")
    found = read_preferences(file)
    assert [(each.text, each.chosen, each.rejected) for each in found] == [
        ("Hi", "Good day.", "What?")
    ] * 2
    assert found[1].location == "pairs.jsonl:2"


def test_equal_answers_are_left_out_and_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "Hi", "chosen": "a", "rejected": "a"}) + "\n")
    assert read_preferences(file) == []
    other = [{"role": "user", "content": "Bye"}]
    file.write_text(json.dumps({"chosen": ASKED + said("a"), "rejected": other + said("b")}) + "\n")
    with pytest.raises(
        InputError, match=r"pairs.jsonl:1.*the inputs of chosen and rejected differ"
    ):
        read_preferences(file)
    file.write_text(json.dumps({"prompt": "Hi", "answer": "a"}) + "\n")
    with pytest.raises(InputError, match="better and a worse"):
        read_preferences(file)


SHARED = "Be kind."
OWN = "Be brief."
TIDES = [{"type": "function", "function": {"name": "tides", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize("shape", ["trl", "openai", "kto"])
@pytest.mark.parametrize("tools", [[], TIDES])
@pytest.mark.parametrize("system", ["", SHARED, OWN])
def test_a_preference_keeps_its_own_system_message_and_functions(
    shape: str, tools: list[Any], system: str, tmp_path: Path
) -> None:
    head = [{"role": "system", "content": system}] if system else []
    row: dict[str, Any] = {"prompt": [*head, *ASKED], "tools": tools}
    if shape == "openai":
        row = {"input": {"messages": row["prompt"], "tools": tools}}
        row |= {"preferred_output": said("a"), "non_preferred_output": said("b")}
    elif shape == "kto":
        row |= {"completion": said("a"), "label": True}
    else:
        row |= {"chosen": said("a"), "rejected": said("b")}
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"{json.dumps(row)}\n" * 2)
    assistant = Assistant("fine_tune", "answer", ModelRef("fake"), SHARED)
    expected = (
        Message("system", append_tools(system or SHARED, format_tools(tools))),
        Message("user", "Hi"),
    )
    for preference in read_preferences(file, SHARED):
        assert assistant.build_messages(preference.input) == expected
        assert preference.input[0].role == (
            "user" if system in ("", SHARED) and not tools else "system"
        )


def write_thumbs(task: Path, inputs: list[str]) -> None:
    """As many thumbs-up as thumbs-down, in KTO's rows."""
    lines = [
        {"prompt": text, "completion": f"Title: {word}\nAges: 5", "label": word == "Polite"}
        for text in inputs
        for word in ("Polite", "Rude")
    ]
    (task.parent / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_thumbs_are_read_as_preferences_with_one_side(tmp_path: Path) -> None:
    write_thumbs(tmp_path / "task.yaml", ["Hi"])
    found = read_preferences(tmp_path / "pairs.jsonl")
    polite = "Title: Polite\nAges: 5"
    rude = "Title: Rude\nAges: 5"
    assert [(each.text, each.chosen, each.rejected) for each in found] == [
        ("Hi", polite, ""),
        ("Hi", "", rude),
    ]


def write_pairs(task: Path, inputs: list[str]) -> None:
    lines = [
        {"prompt": text, "chosen": "Title: Polite\nAges: 5", "rejected": "Title: Rude\nAges: 5"}
        for text in inputs
    ]
    (task.parent / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_no_pair_on_a_test_row_or_nearly_one_is_learned(tmp_path: Path) -> None:
    file = write_task(tmp_path / "task")
    task, dataset = load_dataset(load_task(file))
    parts = split(dataset, task.kind, task.seed)
    sides = {"train": parts.train, "dev": parts.dev, "test": parts.test}
    inputs = [
        f"{row.text}{end}" for side in sides.values() for row in side for end in ("", ", please!")
    ]
    new = [str(row["input"]) for row in rows("answer", 40, seed=3)]
    write_pairs(file, [*inputs, *new])
    found = group_by_side(read_preferences(file.parent / "pairs.jsonl"), parts)
    assert set(found) == {"train", "dev"}
    test = {row.text for row in parts.test}
    for side, pairs in found.items():
        assert not {pair.text.removesuffix(", please!") for pair in pairs} & test
        known = [pair for pair in pairs if pair.text not in new]
        assert len(known) == 2 * len(sides[side])
    assert 0 < len([pair for pair in found["dev"] if pair.text in new]) < 15


def test_two_adapters_stacked_are_one(tmp_path: Path) -> None:
    module = tiny_model(torch.float64)
    ids = torch.arange(3, 20)[None]
    for name, settings in (("first", SETTINGS), ("second", SETTINGS)):
        with add_adapters(module, settings) as adapters:
            shake_weights(adapters)
            for adapter in adapters:
                adapter.b.data *= 1 if name == "first" else -0.3
            save_adapter(adapters, tmp_path / name)
    stack_adapters(tmp_path / "first", tmp_path / "second", tmp_path / "both", "base")
    one_by_one = apply_adapter(apply_adapter(module, tmp_path / "first"), tmp_path / "second")
    together = apply_adapter(module, tmp_path / "both")
    torch.testing.assert_close(together(ids).logits, one_by_one(ids).logits, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(together(ids).logits, module(ids).logits)


@pytest.mark.real
def test_prefer_goes_on_from_fine_tune_and_learns_the_pairs(tmp_path: Path) -> None:
    """A tiny model: rows of one form, pairs that prefer another; the second training moves towards
    it.
    """
    more = "methods: [fine_tune, prefer]\npreferences: pairs.jsonl\nmax_tokens: 16\n"
    more += "train: {epochs: 2, learning_rate: 0.02, beta: 0.5}\n"
    file = write_task(
        tmp_path / "task", model=str(save_tiny_model(tmp_path / "model")), num=160, more=more
    )
    write_pairs(file, [str(row["input"]) for row in rows("answer", 80, seed=3)])
    run = compare(file).run
    records = {
        name: json.loads((run.method_folder(name) / "method.json").read_text())
        for name in run.fitted_methods
    }
    assert list(records) == ["fine_tune", "prefer"]
    lines = [
        json.loads(line)
        for line in (run.method_folder("prefer") / "train.jsonl").read_text().splitlines()
    ]
    scores = [line["score"] for line in lines if "score" in line]
    assert scores[0] == 0.5
    assert max(scores) > 0.9
    assert "dpo, beta 0.5" in records["prefer"]["params"]["supervision"][0]
    assert (run.method_folder("prefer") / "assistant" / "adapter" / "adapter_config.json").exists()
    assert not (run.method_folder("prefer") / "work" / "fine_tune").exists(), (
        "fine_tune is trained once"
    )


@pytest.mark.real
def test_prefer_learns_thumbs_by_kto_and_by_nothing_else(tmp_path: Path) -> None:
    more = "methods: [fine_tune, prefer]\npreferences: pairs.jsonl\nmax_tokens: 16\n"
    more += "train: {epochs: 2, learning_rate: 0.02}\n"
    file = write_task(
        tmp_path / "task", model=str(save_tiny_model(tmp_path / "model")), num=160, more=more
    )
    write_thumbs(file, [str(row["input"]) for row in rows("answer", 60, seed=3)])
    with pytest.raises(InputError, match="a rating of one answer is not a pair of answers"):
        compare(file)
    file.write_text(
        file.read_text().replace("epochs: 2,", "epochs: 2, preference_loss: kto, beta: 0.5,")
    )
    run = compare(file).run
    lines = [
        json.loads(line)
        for line in (run.method_folder("prefer") / "train.jsonl").read_text().splitlines()
    ]
    losses = [line["dev_loss"] for line in lines if "dev_loss" in line]
    assert min(losses) < 0.8 * losses[0]
    record = json.loads((run.method_folder("prefer") / "method.json").read_text())
    assert "kto, beta 0.5, weights 1 and 1" in record["params"]["supervision"][0]
