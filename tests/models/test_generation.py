"""Answers that are written together: each is what it would be alone, whoever else comes and
goes.
"""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi")

from torch import Tensor

from etude.assistant import Assistant
from etude.errors import GrammarError, ModelError
from etude.models.backend import count_shared_tokens
from etude.models.local.generation import Generation, GenerationBatch, PromptReading
from etude.models.local.model import LocalModel
from etude.models.registry import Models
from etude.serve.engine import FinishedAnswer, QueuedRequest, ServingEngine, StreamItem
from etude.types import Example, Message, ModelRef, Request, Sampling
from tiny import save_tiny_model


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dtype="float32")


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def model(
    request: pytest.FixtureRequest, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> LocalModel:
    folder = save_tiny_model(tmp_path_factory.mktemp(request.param), kind=request.param)
    return models.get_live(ModelRef(str(folder)))


def build_request(number: int) -> Request:
    turns = (
        Message("system", "answer with one word"),
        Message("user", f"my card {'has not arrived ' * (number % 3)}"),
    )
    return Request(turns, 12 + number)


def generate_pieces(
    model: LocalModel, answers: list[Generation], prefix: int, begin_at: list[int]
) -> list[str]:
    """The answers in pieces, of which each begins at a step."""
    batch = model.create_batch(answers[0].prompt[:prefix])
    pieces = {id(answer): "" for answer in answers}
    waiting = list(zip(answers, begin_at, strict=True))
    step = 0
    while waiting or batch.generations:
        due = [answer for answer, begin in waiting if begin <= step] if batch.can_join else []
        waiting = [each for each in waiting if each[0] not in due]
        if due:
            batch.join(due)
        for answer in batch.step() if batch.generations else ():
            pieces[id(answer)] += answer.read_piece()
        step += 1
    return list(pieces.values())


def test_each_is_what_it_is_alone(model: LocalModel) -> None:
    requests = [build_request(number) for number in range(6)]
    alone = [model.generate([request])[0] for request in requests]
    answers = [model.create_generation(request, Sampling()) for request in requests]
    prefix = count_shared_tokens([answer.prompt for answer in answers])
    assert prefix > 10
    pieces = generate_pieces(model, answers, prefix, [0, 0, 3, 3, 9, 40])
    for answer, text, own in zip(answers, pieces, alone, strict=True):
        done = answer.to_completion(prefix, 0.0)
        assert (done.text, done.finish, done.answer_tokens) == (
            own.text,
            own.finish,
            own.answer_tokens,
        )
        assert done.logprob == pytest.approx(own.logprob, abs=1e-3)
        assert text == own.text.strip()


@pytest.mark.parametrize("max_tokens", [1, 3, 7, 64, None])
def test_prompts_that_are_read_in_pieces_give_the_same_answers(
    model: LocalModel, max_tokens: int | None
) -> None:
    requests = [build_request(number) for number in range(3)]
    alone = [model.generate([request])[0] for request in requests]
    answers = [model.create_generation(request, Sampling()) for request in requests]
    prefix = count_shared_tokens([answer.prompt for answer in answers])
    batch = model.create_batch(answers[0].prompt[:prefix])
    reading = PromptReading(batch, answers)
    num_reads = 1
    while not reading.read(max_tokens):
        assert not batch.generations
        num_reads += 1
    longest = max(len(answer.prompt) for answer in answers) - prefix
    is_split = max_tokens and longest > max_tokens and batch.model.can_share
    assert num_reads == (-(-longest // max(1, max_tokens // 3)) if max_tokens and is_split else 1)
    while batch.generations:
        batch.step()
    for answer, own in zip(answers, alone, strict=True):
        done = answer.to_completion(prefix, 0.0)
        assert (done.text, done.finish) == (own.text, own.finish)
        assert done.logprob == pytest.approx(own.logprob, abs=1e-3)


def test_a_seed_gives_the_same_answer_whoever_else_is_there(model: LocalModel) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=7)
    first, second, other = (
        model.create_generation(build_request(1), each) for each in (sampling, sampling, Sampling())
    )
    [alone] = generate_pieces(model, [first], 0, [0])
    together = generate_pieces(model, [other, second], 0, [0, 2])[1]
    greedy = generate_pieces(
        model, [model.create_generation(build_request(1), Sampling())], 0, [0]
    )[0]
    assert alone == together != greedy


def test_the_smallest_temperature_draws_the_likeliest_tokens(model: LocalModel) -> None:
    greedy, coldest = (
        model.create_generation(build_request(1), each) for each in (Sampling(), Sampling(5e-324))
    )
    first, second = generate_pieces(model, [greedy, coldest], 0, [0, 0])
    assert first == second == model.generate([build_request(1)])[0].text.strip()


def test_an_answer_that_fails_ends_no_other(model: LocalModel) -> None:
    class BrokenGrammar:
        is_finished = False

        def mask_logits(self, logits: Tensor, num_remaining: int) -> Tensor:
            return logits * math.nan

        def accept(self, token: int) -> None:
            raise GrammarError("broken")

    good, ill = (model.create_generation(build_request(2)) for _ in range(2))
    ill.grammar = BrokenGrammar()  # type: ignore[assignment]
    text, _ = generate_pieces(model, [good, ill], 0, [0, 0])
    assert text == model.generate([build_request(2)])[0].text.strip()
    with pytest.raises(ModelError, match="NaN or infinite"):
        ill.to_completion(0, 0.0)


def test_a_stop_sequence_ends_the_answer_and_no_part_of_it_is_shown(model: LocalModel) -> None:
    whole = model.generate([build_request(5)])[0].text.strip()
    stop = whole[5:8]
    answer = model.create_generation(build_request(5), Sampling(stop=("nowhere", stop)))
    [pieces] = generate_pieces(model, [answer], 0, [0])
    assert pieces == whole[: whole.index(stop)].strip()
    assert answer.to_completion(0, 0.0).finish == "stop"
    shorter = model.create_generation(build_request(5), Sampling(stop=(whole[:12],)))
    assert generate_pieces(model, [shorter], 0, [0]) == [""]


def test_log_probabilities_of_each_token(model: LocalModel) -> None:
    answer = model.create_generation(build_request(0), Sampling(top_logprobs=3))
    generate_pieces(model, [answer], 0, [0])
    assert len(answer.scores) == len(answer.tokens)
    assert sum(score.logprob for score in answer.scores) == pytest.approx(answer.logprob, abs=1e-4)
    lowest = min(score.logprob for score in answer.scores)
    assert answer.to_completion(0, 0.0).min_logprob == pytest.approx(lowest, abs=1e-4)
    for score in answer.scores:
        assert score.likeliest[0] == (score.text, pytest.approx(score.logprob))
        assert sum(math.exp(logprob) for _, logprob in score.likeliest) <= 1.0001


def test_an_answer_is_kept_to_a_schema(model: LocalModel) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["card", "refund"]}, "n": {"type": "integer"}},
    }
    schema |= {"required": ["label"], "additionalProperties": False}
    request = replace(build_request(2), max_tokens=60)
    answer = model.create_generation(
        request, Sampling(json_schema=json.dumps(schema), top_logprobs=5)
    )
    [text] = generate_pieces(model, [answer], 0, [0])
    assert all(math.isfinite(value) for score in answer.scores for _, value in score.likeliest)
    done = answer.to_completion(0, 0.0)
    assert text == done.text.strip()
    if done.finish == "stop":
        assert json.loads(text)["label"] in ("card", "refund")
    else:
        assert re.match(r"\s*\{\s*(\"label\"|\"n\")", text)
    with pytest.raises(GrammarError, match="cannot be"):
        model.create_generation(request, Sampling(json_schema='{"type": "nonsense"}'))


def test_the_engine_computes_an_assistants_own_prompt_once(models: Models, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    shots = (Example("1", (Message("user", "where is my card"),), "card"),)
    assistant = Assistant(
        "few_shot",
        "answer",
        ModelRef(str(folder)),
        "label labels answer",
        shots=shots,
        max_tokens=9,
    )
    texts = [f"please cancel the transfer {number}" for number in range(5)]
    engine = ServingEngine(models)
    told = SimpleQueue[tuple[int, StreamItem]]()

    def queue(at: int, text: str) -> QueuedRequest:
        return QueuedRequest(
            assistant, "luma", (Message("user", text),), lambda item: told.put((at, item))
        )

    engine.submit(*(queue(at, text) for at, text in enumerate(texts)))
    found = dict(told.get(timeout=20) for _ in texts)
    engine.close()
    for at, own in enumerate(assistant.answer(texts, models)):
        done = found[at]
        assert done.answer.text == own.text
        assert done.completion.cached_tokens > 20


def test_answers_begin_beside_others_where_the_cache_cannot_be_joined(
    models: Models, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path / "m", kind="gemma2")
    assistant = Assistant("prompt", "answer", ModelRef(str(folder)), max_tokens=40)
    engine = ServingEngine(models)
    told = SimpleQueue[StreamItem]()
    second = QueuedRequest(
        assistant, "", (Message("user", "please cancel the transfer"),), told.put
    )
    pieces = list[StreamItem]()

    def ask_beside(item: StreamItem) -> None:
        """In the engine's thread, between two tokens of the first answer."""
        pieces.append(item)
        if len(pieces) == 1:
            engine.submit(second)
        elif isinstance(item, FinishedAnswer | Exception):
            told.put(item)

    sampling = Sampling(temperature=2.0, seed=3)
    engine.submit(
        QueuedRequest(
            assistant, "", (Message("user", "my card"),), ask_beside, sampling, streams=True
        )
    )
    done = [told.get(timeout=20) for _ in range(2)]
    engine.close()
    assert all(isinstance(item, FinishedAnswer) for item in done), done
    texts = [item.answer.text for item in done if isinstance(item, FinishedAnswer)]
    assert assistant.answer("please cancel the transfer", models).text in texts
    assert len(pieces) > 2


def test_running_answers_go_on_while_a_long_prompt_is_read(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.serve.engine.MAX_READ_TOKENS", 8)
    ref = ModelRef(str(save_tiny_model(tmp_path / "m")))  # which reads 512 tokens
    short, long = (Assistant("prompt", "answer", ref, max_tokens=number) for number in (300, 9))
    long_text = "please cancel the transfer " * 40
    engine = ServingEngine(models)
    told = SimpleQueue[tuple[str, StreamItem]]()

    def ask(name: str, assistant: Assistant, text: str) -> QueuedRequest:
        sampling = Sampling(temperature=2.0, seed=3) if assistant is short else Sampling()
        turns = (Message("user", text),)
        return QueuedRequest(
            assistant, "", turns, lambda item: told.put((name, item)), sampling, streams=True
        )

    engine.submit(ask("short", short, "my card"))
    events = [told.get(timeout=20)]
    dropped = ask("dropped", long, long_text)
    engine.submit(ask("long", long, long_text), dropped)
    dropped.cancelled = True
    while events[-1][0] != "long" or isinstance(events[-1][1], str):
        events.append(told.get(timeout=20))
    engine.close()
    num_between = [name for name, _ in events].index("long")
    done = events[-1][1]
    assert (
        num_between > done.completion.prompt_tokens // 8 / 2
    )  # half of the tokens may end within a character
    assert done.answer.text == long.answer(long_text, models).text
    assert not any(name == "dropped" for name, _ in events)


def test_a_step_that_fails_does_not_end_answers_whose_prompts_are_read(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.serve.engine.MAX_READ_TOKENS", 64)
    assistant = Assistant(
        "prompt", "answer", ModelRef(str(save_tiny_model(tmp_path / "m"))), max_tokens=60
    )
    text = "please cancel the transfer " * 20
    engine = ServingEngine(models)
    told = SimpleQueue[StreamItem]()
    second = QueuedRequest(assistant, "", (Message("user", text),), told.put)
    step = GenerationBatch.step
    read = PromptReading.read
    events = list[str]()

    def ask_beside(item: StreamItem) -> None:
        """In the engine's thread, between two tokens of the first answer."""
        if not isinstance(item, str):
            told.put(item)
        elif not events:
            events.append("asked")
            engine.submit(second)

    def read_and_note(self: PromptReading, max_tokens: int | None = None) -> bool:
        is_complete = read(self, max_tokens)
        if events and not is_complete:
            events.append("reading")
        return is_complete

    def fail_while_reading(self: GenerationBatch) -> list[Generation]:
        if events[-1:] == ["reading"]:
            events.append("failed")
            raise ModelError("broken")
        return step(self)

    monkeypatch.setattr(PromptReading, "read", read_and_note)
    monkeypatch.setattr(GenerationBatch, "step", fail_while_reading)
    sampling = Sampling(temperature=2.0, seed=3)
    turns = (Message("user", f"{text}!"),)
    request = QueuedRequest(assistant, "", turns, ask_beside, sampling, streams=True)
    engine.submit(request)
    broken = told.get(timeout=20)
    done = told.get(timeout=20)
    engine.close()
    assert isinstance(broken, ModelError)
    assert events[:3] == ["asked", "reading", "failed"]
    monkeypatch.undo()
    assert done.answer.text == assistant.answer(text, models).text


def test_more_answer_tokens_leave_the_prompt_as_it_is(models: Models, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")  # which reads 512 tokens
    shots = (Example("1", (Message("user", "where is my card"),), "card"),)
    assistant = Assistant("few_shot", "answer", ModelRef(str(folder)), shots=shots, max_tokens=9)
    engine = ServingEngine(models)
    told = SimpleQueue[StreamItem]()
    sampling = Sampling(temperature=2.0, seed=3)
    engine.submit(
        QueuedRequest(
            assistant, "", (Message("user", "my card"),), told.put, sampling, max_tokens=4_000
        )
    )
    done = told.get(timeout=60)
    engine.close()
    own = assistant.answer("my card", models)
    assert done.completion.prompt_tokens == own.prompt_tokens
    assert done.answer.shots_dropped == 0
    assert 9 < done.completion.answer_tokens <= 512 - own.prompt_tokens
