"""Models behind a URL: nothing is lost, nothing is sent twice, no key is written, no cost comes
unasked.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from endpoint_server import KEY, Body, ScriptedServer, serve_script
from etude.answer_file import predict
from etude.assistant import Assistant, load
from etude.comparison import compare
from etude.errors import Declined, InputError, ModelError
from etude.models.endpoint import describe_service
from etude.models.endpoint.model import EndpointModel
from etude.models.remote import Journal
from etude.runs import Run
from etude.runs.recommended import load_endpoints
from etude.task import Endpoint, load_task
from etude.task.endpoint import Prices, parse_endpoint
from etude.types import Message, ModelRef, Request, Sampling
from processes import kill_when, start_command
from small_task import THEMES, write_task

TROUBLES = ("429", "500", "hang", "not JSON", "other JSON", "cut")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serve_script(ScriptedServer()) as script:
        yield script


def build_request(number: int, choices: tuple[str, ...] = ()) -> Request:
    return Request((Message("user", f"question {number}"),), 20, choices)


def build_model(
    script: ScriptedServer, journal: Path | None = None, **more: object
) -> EndpointModel:
    endpoint = replace(Endpoint(script.url, "big"), **more)  # type: ignore[arg-type]
    service = describe_service(endpoint.name, {endpoint.name: endpoint})
    return EndpointModel(endpoint, Journal(service, journal), first_wait=0.02)


# Asked until answered


def test_two_hundred_requests_to_a_misbehaving_server_lose_none(tmp_path: Path) -> None:
    with serve_script(ScriptedServer(TROUBLES, share=0.3)) as script:
        model = build_model(script, tmp_path / "requests.jsonl", timeout=0.3, at_once=16)
        answers = model.generate([build_request(number) for number in range(200)])
    assert [each.text for each in answers] == [f"said: question {number}" for number in range(200)]
    assert set(script.struck) == {"", *TROUBLES}
    assert (
        script.most_at_once <= 16 + script.struck["hang"]
    )  # one that was given up still hangs there
    assert len((tmp_path / "requests.jsonl").read_text().splitlines()) == 200


def test_what_was_answered_is_never_sent_again(server: ScriptedServer, tmp_path: Path) -> None:
    requests = [build_request(number % 7) for number in range(20)]
    first = build_model(server, tmp_path / "requests.jsonl").generate(requests)
    again = build_model(server, tmp_path / "requests.jsonl").generate([*requests, build_request(8)])
    assert again[:-1] == first
    assert set(server.asked.values()) == {1}
    assert len(server.asked) == 8


def test_requests_keep_to_the_pace_and_to_the_number_at_once(server: ScriptedServer) -> None:
    begun = time.monotonic()
    requests = [build_request(number) for number in range(12)]
    build_model(server, per_minute=1200.0, at_once=3).generate(requests)
    assert time.monotonic() - begun >= 11 * 0.05
    assert server.most_at_once <= 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"model": "bigg"},
            r"bigg at .*HTTP 404.*does not exist.*It may not have bigg: its models are 'big'",
        ),
        ({"key": "ETUDE_WRONG_KEY"}, r"HTTP 401.*does not accept the key in ETUDE_WRONG_KEY"),
        ({"key": "ETUDE_NO_KEY"}, r"is not set. Run: export ETUDE_NO_KEY=YOUR_KEY"),
        (
            {"url": "http://127.0.0.1:9/v1"},
            r"did not answer in 3 attempts \(ConnectError.*\)\. Is the server running\?$",
        ),
    ],
)
def test_what_no_retry_mends_is_said_at_once(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("ETUDE_WRONG_KEY", "sk-nobody-knows")
    with pytest.raises(ModelError, match=said) as caught:
        build_model(server, **more).generate([build_request(1)])
    assert "sk-nobody-knows" not in str(caught.value)


def test_an_endpoint_that_never_answers_is_given_up(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.troubles = ("500",)
    server.share = 1.0
    endpoint = replace(Endpoint(server.url, "big"), key="ETUDE_TEST_KEY")
    monkeypatch.setenv("ETUDE_TEST_KEY", KEY)
    with pytest.raises(ModelError, match=r"8 attempts \(HTTP 500.*\*\*\*[^)]*\)\.$") as caught:
        EndpointModel(endpoint, first_wait=0.001).generate([build_request(1)])
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("key", "wanted"), [("none", "said: none"), (KEY, "said: ***")])
def test_a_key_is_cut_out_of_answers_unless_it_is_a_common_word(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, key: str, wanted: str
) -> None:
    monkeypatch.setenv("ETUDE_TEST_KEY", key)
    monkeypatch.setattr("endpoint_server.KEY", key)
    model = EndpointModel(replace(Endpoint(server.url, "big"), key="ETUDE_TEST_KEY"))
    (done,) = model.generate([Request((Message("user", key),), 20)])
    assert done.text == wanted


def test_a_stream_comes_in_pieces_and_a_cut_one_is_an_error(server: ScriptedServer) -> None:
    assert "".join(build_model(server).stream(build_request(1))) == "said:question1"
    server.troubles = ("cut",)
    with pytest.raises(ModelError, match="before the end"):
        list(build_model(server).stream(build_request(1)))


def test_members_that_a_model_does_not_take_are_left_out(server: ScriptedServer) -> None:
    server.takes = lambda body: next(
        (name for name in ("max_tokens", "temperature") if name in body), ""
    )
    model = build_model(server, options={"reasoning_effort": "low"})
    assert model.generate([build_request(1), build_request(2)])[1].text == "said: question 2"
    body = server.bodies[-1]
    assert body["max_completion_tokens"] == 20
    assert body["reasoning_effort"] == "low"
    server.takes = lambda body: next(
        (name for name in ("stream_options", "temperature") if name in body), ""
    )
    sampling = Sampling(temperature=1.0, top_logprobs=2)
    assert model.write(build_request(2), sampling, lambda piece: False)[0].text == "said:question2"
    assert {"temperature", "stream_options"}.isdisjoint(server.bodies[-1])
    server.takes = lambda body: "logprobs" if "top_logprobs" in body else ""
    assert model.write(build_request(2), sampling, lambda piece: False)[0].text
    server.takes = lambda body: "messages"
    with pytest.raises(ModelError, match="HTTP 400"):
        model.generate([build_request(3)])


# Label probabilities


def test_a_label_has_a_probability_only_where_log_probabilities_come_back(
    server: ScriptedServer,
) -> None:
    server.say = lambda body: "yes" if "1" in body["messages"][-1]["content"] else "hard to say"
    labels = ("no", "yes")
    assistant = Assistant("prompt", "classify", ModelRef(f"{server.url}#big"), choices=labels)
    label, other = assistant.answer(["question 1", "question 2"])
    assert label.confidence == pytest.approx(math.exp(-0.1))
    assert other.confidence is None, "the probability of what is no label"
    server.logprobs = False
    assert (
        Assistant("prompt", "classify", assistant.model, choices=labels).answer("1").confidence
        is None
    )
    server.takes = lambda body: "logprobs" if "logprobs" in body else ""
    assert assistant.answer("question 1").confidence is None


def test_a_text_is_scored_only_if_it_may_be_handed_over(server: ScriptedServer) -> None:
    server.say = lambda body: "two words"
    assistant = Assistant("prompt", "answer", ModelRef(f"{server.url}#big"))
    assert {"logprob", "min_logprob"}.isdisjoint(assistant.answer("1").signals)
    assert "logprobs" not in server.bodies[-1]
    scored = replace(assistant, scores_tokens=True).answer("1").signals
    assert scored["logprob"] == pytest.approx(-0.2)
    assert scored["min_logprob"] == pytest.approx(-0.1)
    server.logprobs = False
    assert "logprob" not in replace(assistant, scores_tokens=True).answer("1").signals


# Limits


def test_a_limit_of_requests_stops_cleanly_and_what_was_answered_is_kept(
    server: ScriptedServer, tmp_path: Path
) -> None:
    file = tmp_path / "requests.jsonl"
    with pytest.raises(ModelError, match=r"limit of 50 requests.*Raise max_requests"):
        build_model(server, file, max_requests=50).generate(
            [build_request(number) for number in range(100)]
        )
    assert server.asked.total() == 50
    build_model(server, file, max_requests=100).generate(
        [build_request(number) for number in range(100)]
    )
    assert server.asked.total() == 100
    served_from = build_model(server, max_requests=2, per_minute=1200.0)
    begun = time.monotonic()
    for number in range(2):
        served_from.write(build_request(number), Sampling(), lambda piece: False)
    assert time.monotonic() - begun >= 0.05
    with pytest.raises(ModelError, match="limit of 2 requests"):
        served_from.write(build_request(2), Sampling(), lambda piece: False)
    assert server.asked.total() == 102


@pytest.mark.real
def test_a_limit_of_cost_stops_before_it_is_passed(server: ScriptedServer, tmp_path: Path) -> None:
    prices = Prices(prompt=2.0, cached=1.0, answer=10.0)  # a request costs 260 millionths
    model = build_model(server, tmp_path / "r.jsonl", prices=prices, max_cost=0.0106, at_once=1)
    with pytest.raises(
        ModelError, match=r"limit of 0\.0106.*40 requests have cost 0\.0104 at your prices"
    ):
        model.generate([build_request(number) for number in range(100)])
    assert server.asked.total() == 40


# The task file


def test_an_endpoint_is_read_and_its_name_says_what_bears_on_answers(tmp_path: Path) -> None:
    more = (
        "prompt_model: {endpoint: 'https://api.example.com/v1/', model: big, key: env:BIG_KEY, "
        "context: 8000, options: {seed: 7}, prices: {prompt: 1, answer: 2}, at_once: 2, max_cost: "
        "3}\n"
    )
    task = load_task(write_task(tmp_path, more=more))
    name = 'https://api.example.com/v1#big;key=BIG_KEY;context=8000;options={"seed": 7}'
    assert task.prompt_model == name
    endpoint = task.endpoints[name]
    assert (endpoint.at_once, endpoint.max_cost) == (2, 3)
    assert endpoint.title == "big at https://api.example.com/v1"
    assert parse_endpoint(name) == replace(endpoint, prices=None, at_once=8, max_cost=None)
    assert (
        load_task(write_task(tmp_path / "b", more=f"prompt_model: '{name}'\n")).prompt_model == name
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://me:hunter2@host.example/v1", "is only a URL"),
        ("{endpoint: https://me:hunter2@host.example/v1, model: m}", "without a password"),
        ("{endpoint: 'https://host.example/v1?key=hunter2', model: m}", "without a password"),
        (
            "{endpoint: https://host.example/v1, model: m, key: hunter2}",
            "must be the name of an environment variable",
        ),
        ("{endpoint: https://host.example/v1}", "has no model"),
        ("{endpoint: 'http://host.example:port/v1', model: m}", "endpoint must be a URL"),
        ("{endpoint: https://host.example/v1, model: m, max_cost: 3}", "max_cost needs prices"),
        ("{endpoint: https://host.example/v1, model: m, at_once: 0}", "at_once must be"),
        ("{endpoint: https://host.example/v1, model: m, api_key: hunter2}", "unknown key"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_said_without_the_secret(
    tmp_path: Path, given: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_task(write_task(tmp_path, more=f"prompt_model: {given}\n"))
    assert "hunter2" not in str(caught.value)


# A comparison


def answer_label(body: Body) -> str:
    """Names a theme of the question, as one that reads well would."""
    question = body["messages"][-1]["content"]
    return next((theme for theme in THEMES if f"about {theme}," in question), "space")


def write_endpoint_task(
    folder: Path, script: ScriptedServer, methods: str = "prompt", endpoint: str = ""
) -> Path:
    lines = (
        f"prompt_model: {{endpoint: '{script.url}', model: big, key: env:ETUDE_TEST_KEY, prices: "
        f"{{prompt: 2.5, cached: 1.25, answer: 10}}{endpoint}}}\n"
        "prices: {per_hour: 0.36}\n"
        f"methods: [{methods}]\n"
    )
    return write_task(folder, "classify", num=200, more=lines)


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDE_TEST_KEY", KEY)


@pytest.mark.real
@pytest.mark.usefixtures("_key")
def test_the_ladder_shows_a_bigger_prompted_model_beside_the_tuned_one_with_both_costs(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.say = answer_label
    server.troubles = ("500", "429")
    server.share = 0.1
    server.takes = lambda body: "temperature" if "temperature" in body else ""
    asked: list[str] = []
    task = write_endpoint_task(tmp_path, server, "baseline, prompt, few_shot, fine_tune")

    def confirm(question: str) -> bool:
        asked.append(question)
        assert not server.asked, "nothing is sent before the answer"
        return True

    run = compare(task, confirm=confirm).run
    costs = run.verdict.costs
    assert costs["prompt"].price == pytest.approx((60 * 2.5 + 40 * 1.25 + 10 * 10) / 1e6)
    assert costs["fine_tune"].price == pytest.approx(costs["fine_tune"].seconds * 0.36 / 3600)
    assert run.verdict.break_even is None, "the interval shows that the tuned model is worse"
    bigger = run.verdict.bigger
    html = (run.folder / "report.html").read_text()
    assert (bigger.tuned, bigger.prompted) == ("fine_tune", "prompt")
    assert bigger.text in html.partition('id="ladder"')[0], "among the first lines"
    assert "Questions that only prompt gets right" in html
    caveats = " ".join(run.verdict.caveats)
    assert f"Tuned methods ran on fake, prompted ones on big at {server.url}." in caveats
    num = len(server.answered)
    page = (run.folder / "report.md").read_text()
    sent = f"Sent to big at {server.url}: {num:,} requests with {100 * num:,} prompt tokens"
    assert f"{sent}, answered with {10 * num:,} tokens. At your prices, this cost " in caveats
    assert "At your prices, this cost " in page
    assert f"big at {server.url} does not accept temperature" in page
    check_estimate(asked[0], server)
    check_no_key(tmp_path)
    assert server.keys == {KEY}
    assert set(server.answered.values()) == {1}
    before = server.asked.total()
    compare(task, confirm=confirm)
    assert server.asked.total() == before
    assert (
        load(run.assistant_folder("prompt")).answer("a book about trains, age 5").text == "trains"
    )


def check_estimate(question: str, server: ScriptedServer) -> None:
    """What was foreseen is no less than what came, and names the price."""
    assert (
        f"big at {server.url} will get the instructions and rows of this task: at most " in question
    )
    most = int(question.split("at most ")[1].split()[0].replace(",", ""))
    assert len(server.answered) <= most <= 3 * len(server.answered)
    assert (
        "(2.5 per million prompt tokens and 10 per million answer tokens), this costs at most "
        in question
    )


def check_no_key(folder: Path) -> None:
    """No file under the folder holds the key."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.name == "requests.jsonl" for file in files)
    for file in files:
        assert KEY.encode() not in file.read_bytes(), file


@pytest.mark.usefixtures("_key")
def test_nothing_is_sent_where_the_answer_is_no(server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(Declined, match="Nothing was sent"):
        compare(write_endpoint_task(tmp_path, server), confirm=lambda question: False)
    assert not server.asked


@pytest.mark.usefixtures("_key")
def test_predict_asks_first_and_keeps_to_the_limits_of_the_task(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.say = answer_label
    run = compare(write_endpoint_task(tmp_path, server)).run
    task = write_endpoint_task(tmp_path, server, endpoint=", max_requests: 3")
    assert load_endpoints(load(run.assistant_folder("prompt")), run) == load_task(task).endpoints
    file = tmp_path / "in.jsonl"
    before = server.asked.total()
    questions = list[str]()
    file.write_text(
        "".join(json.dumps({"input": f"a book about {theme}, age 5"}) + "\n" for theme in THEMES)
    )

    def refuse(question: str) -> bool:
        questions.append(question)
        return False

    with pytest.raises(Declined, match="Nothing was sent"):
        predict(task, file, tmp_path / "out.jsonl", method="prompt", confirm=refuse)
    assert server.asked.total() == before
    assert (
        f"big at {server.url} will get the rows of in.jsonl: at most 8 requests, about "
        in questions[0]
    )
    assert "The run stops at max_requests: 3." in questions[0]
    with pytest.raises(ModelError, match="limit of 3 requests"):
        predict(task, file, tmp_path / "out.jsonl", method="prompt")
    assert server.asked.total() == before + 3


@pytest.mark.usefixtures("_key")
def test_a_comparison_stopped_by_a_limit_goes_on_when_it_is_raised(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.say = answer_label
    with pytest.raises(ModelError, match="limit of 60 requests"):
        compare(write_endpoint_task(tmp_path, server, endpoint=", max_requests: 60"))
    assert server.answered.total() == 60
    run = compare(write_endpoint_task(tmp_path, server, endpoint=", max_requests: 6000")).run
    assert run.is_complete
    assert set(server.answered.values()) == {1}
    assert list((tmp_path / "runs").glob("small-*")) == [run.folder]


@pytest.mark.real
@pytest.mark.usefixtures("_key")
def test_ten_kills_send_nothing_twice_that_was_answered(tmp_path: Path) -> None:
    with serve_script(ScriptedServer(say=answer_label, hold_after=0)) as script:
        check_kills(tmp_path, script, kills=10)


def check_kills(folder: Path, script: ScriptedServer, kills: int) -> None:
    """Kills a comparison each time the server has answered 17 more requests, and lets it end after
    the last.
    """
    task = write_endpoint_task(folder, script, "baseline, prompt, few_shot, fine_tune")
    for kill in range(1, kills + 1):
        kill_comparison(task, folder, script, 17 * kill, 900)
    script.hold_after = None
    process = start_command("compare", task)
    _, error = process.communicate(timeout=900)
    assert process.returncode == 0, error
    assert set(script.answered.values()) == {1}
    assert count_saved(folder) == len(script.answered)
    check_no_key(folder)


def kill_comparison(
    task: Path, folder: Path, script: ScriptedServer, num_saved: int, seconds: float
) -> None:
    """Kills a comparison when so many answers are saved; after `seconds` it hangs, and a kill would
    prove nothing.
    """
    script.hold_after = num_saved
    kill_when(start_command("compare", task), lambda: count_saved(folder) >= num_saved, seconds)


def count_saved(folder: Path) -> int:
    """Answers in the journal of the only run."""
    files = list(folder.glob("runs/*/requests.jsonl"))
    return files[0].read_bytes().count(b"\n") if files else 0


@pytest.mark.real
@pytest.mark.usefixtures("_key")
def test_an_endpoint_as_the_only_model_leaves_out_what_is_tuned(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.say = answer_label
    named = f"{{endpoint: '{server.url}', model: big}}"
    task = write_task(tmp_path, "classify", model=named, num=200)
    run: Run = compare(task, confirm=lambda question: True).run
    assert {"prompt", "clear_prompt", "few_shot"} <= set(run.fitted_methods)
    assert "fine_tune" not in run.fitted_methods
    assert any("tuned methods are left out" in note for note in run.info["notes"])
    named_one = write_task(
        tmp_path / "b", "classify", model=named, more="methods: [prompt, fine_tune]\n"
    )
    with pytest.raises(ModelError, match=r"big at \S+ cannot be trained by Étude"):
        compare(named_one, confirm=lambda question: True)
    assert json.loads((run.folder / "run.json").read_text())["model"] == f"{server.url}#big"
