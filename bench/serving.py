"""Measure tokens per second and time to the first token of `etude serve`, compared with llama.cpp's
own server.

    python bench/serving.py
        about 10 minutes; nothing else should run meanwhile
    python bench/serving.py --place runs/NAME-HASH --clients 1 32 --seconds 20
    python bench/serving.py --equal 100 --place runs/NAME
        answers compared with Assistant.answer, in 32 bits
    python bench/serving.py --flood 200 --seconds 60
        more clients than the queue accepts: answers by status
    python bench/serving.py --soak 5000
        memory of the server while it answers this many requests

Without --place, the assistant is Luma on SmolLM2-135M with two examples in the prompt and answers
of at most 60 tokens. `bare` is the HTTP server of llama.cpp (xllamacpp) with the same weights and
the same token ids in requests. The servers take turns, in both orders in each repeat. Clients ask
one question after another and read the stream. The text in a time window is counted in characters
and converted to tokens with the ratio of the finished answers. Share: tokens per second divided by
those of `bare`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2 as httpx

from etude.assistant import Assistant, load
from etude.runs.recommended import load as load_recommended
from etude.serve.catalogue import load_catalogue
from etude.types import Example, Message, ModelRef

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
LUMA = Path(__file__).parents[1] / "examples" / "luma"
MODEL = "smollm2-135m-instruct"
WARM_UP = 1.0
"""Seconds."""


@dataclass
class WindowCounts:
    """The measurements of all clients in one time window."""

    seconds: float
    characters: int = 0
    first_seconds: list[float] = field(default_factory=list)
    """Seconds to the first text of each answer whose text began in the window."""
    tokens: int = 0
    finished_characters: int = 0
    """Characters of the finished answers, which had this many tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--place", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", nargs="+", default=["bare", "llama_cpp", "local"])
    parser.add_argument("--equal", type=int, default=0)
    parser.add_argument("--flood", type=int, default=0)
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        run_bare(load(args.bare))
    elif args.equal:
        count_equal_answers(args.place, args.engines[-1], args.equal)
    elif args.flood or args.soak:
        with tempfile.TemporaryDirectory() as folder:
            assistant = load_recommended(args.place) if args.place else few_shot()
            assistant.save(Path(folder) / "luma")
            with server(args.engines[-1], Path(folder) / "luma") as (url, _, process):
                bodies = questions(assistant, "local")
                if args.flood:
                    print(asyncio.run(flood(url, bodies, args.flood, args.seconds)))
                else:
                    asyncio.run(soak(url, bodies, args.soak, process))
    else:
        compare(args)


def count_equal_answers(place: Path, engine: str, number: int) -> None:
    """Prints how many answers and citations over HTTP, with eight requests at once, equal those of
    Assistant.answer."""
    from etude.models.registry import Models
    from serving import serving

    (served,) = load_catalogue([str(place)], engine=engine).values()
    texts = rows()[:number]
    models = Models(dtype="float32")
    expected = served.assistant.answer(texts, models)

    async def ask(url: str) -> list[dict[str, Any]]:
        turns = asyncio.Semaphore(8)

        async def one(client: httpx.AsyncClient, text: str) -> dict[str, Any]:
            body = {"model": served.name, "messages": [{"role": "user", "content": text}]}
            async with turns:
                response = await client.post(f"{url}/v1/chat/completions", json=body)
            return dict(response.json()["choices"][0]["message"])

        async with httpx.AsyncClient(timeout=600) as client:
            return await asyncio.gather(*(one(client, text) for text in texts))

    with serving(served, models=models) as url:
        messages = asyncio.run(ask(url))
    pairs = list(zip(messages, expected, strict=True))
    num_equal = sum(each["content"] == answer.text for each, answer in pairs)
    num_cited = sum(tuple(each["citations"]) == answer.citations for each, answer in pairs)
    print(
        f"{served.source} by {engine}: {num_equal} of {number} answers equal, {num_cited} of "
        f"{number} citations"
    )
    print(f"answers with a passage: {sum(bool(answer.citations) for answer in expected)}")


async def flood(
    url: str, bodies: Iterator[dict[str, Any]], clients: int, seconds: float
) -> dict[int, int]:
    """Sends the requests of many clients; returns status -> number of requests. Checks that every
    200 has an answer and every 429 a time for the next try.
    """
    statuses: dict[int, int] = {}
    async with httpx.AsyncClient(
        timeout=600, limits=httpx.Limits(max_connections=clients)
    ) as client:
        started = time.perf_counter()

        async def one() -> None:
            while time.perf_counter() - started < seconds:
                response = await client.post(url, json=shorten(next(bodies), 16))
                status = response.status_code
                statuses[status] = statuses.get(status, 0) + 1
                assert status != 200 or response.json()["choices"][0]["message"]["content"]
                assert status != 429 or int(response.headers["retry-after"])
                await asyncio.sleep(0.2 if status == 429 else 0)

        await asyncio.gather(*(one() for _ in range(clients)))
    assert not any(status >= 500 for status in statuses), statuses
    return statuses


def shorten(body: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Builds a request that is answered in few tokens; always the same question."""
    return {**body, "stream": False, "stream_options": None, "max_tokens": tokens}


async def soak(url: str, bodies: Iterator[dict[str, Any]], number: int, process: int) -> None:
    """Prints the server's memory after every tenth of so many short answers."""
    async with httpx.AsyncClient(timeout=600) as client:
        for tenth in range(10):
            for _ in range(number // 160):
                requests = [client.post(url, json=shorten(next(bodies), 4)) for _ in range(16)]
                assert {each.status_code for each in await asyncio.gather(*requests)} == {200}
            resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
            assert resident
            print(
                f"after {(tenth + 1) * number // 10} requests: {int(resident[1]) / 1e3:.0f} MB",
                flush=True,
            )


def compare(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assistant = load_recommended(args.place) if args.place else few_shot()
        assistant.save(Path(folder) / "luma")
        windows: dict[tuple[str, int], list[WindowCounts]] = {}
        for repeat in range(args.repeats):
            for engine in (*args.engines, *args.engines[-2::-1]):
                with server(engine, Path(folder) / "luma") as (url, headers, _):
                    bodies = questions(assistant, engine)
                    asyncio.run(fill(url, headers, bodies, max(args.clients)))
                    for clients in args.clients:
                        figures = asyncio.run(window(url, headers, bodies, clients, args.seconds))
                        windows.setdefault((engine, clients), []).append(figures)
                        label = f"repeat {repeat + 1}, {engine}, {clients} clients"
                        print(
                            f"{label}: {figures.characters / args.seconds:.0f} characters/s",
                            flush=True,
                        )
        print_table(args.engines, args.clients, windows)


def print_table(
    engines: Sequence[str],
    clients: Sequence[int],
    windows: dict[tuple[str, int], list[WindowCounts]],
) -> None:
    counts = [figures for each in windows.values() for figures in each]
    tokens = sum(each.tokens for each in counts) / sum(each.finished_characters for each in counts)
    print(
        "\n"
        f"{'engine':12}{'clients':>8}{'tokens/s':>10}{'share':>8}{'first p50':>11}{'first p99':>11}"
    )
    for number in clients:
        speeds = {
            engine: tokens
            * statistics.median(each.characters / each.seconds for each in windows[engine, number])
            for engine in engines
        }
        for engine in engines:
            first = sorted(
                second for each in windows[engine, number] for second in each.first_seconds
            )
            share = f"{speeds[engine] / speeds['bare']:.0%}" if "bare" in speeds else ""
            p50 = first[len(first) // 2]
            p99 = first[min(len(first) - 1, len(first) * 99 // 100)]
            print(f"{engine:12}{number:8}{speeds[engine]:10.0f}{share:>8}{p50:10.2f}s{p99:10.2f}s")


def few_shot() -> Assistant:
    lines = [
        json.loads(line)
        for line in (LUMA / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    shots = tuple(
        Example(str(number), (Message("user", row["input"]),), row["output"])
        for number, row in enumerate(lines[:2])
    )
    text = "You are Luma, a robot librarian. Recommend one book from the catalogue."
    return Assistant("few_shot", "answer", ModelRef(MODEL), text, shots=shots, max_tokens=60)


def rows() -> list[str]:
    """Reads Luma's test questions."""
    lines = (LUMA / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["input"] for line in lines]


def questions(assistant: Assistant, engine: str) -> Iterator[dict[str, Any]]:
    """Yields bodies of requests without end; for the bare server, the rendered prompt as token
    ids.
    """
    common = {"stream": True, "stream_options": {"include_usage": True}}
    if engine == "bare":
        from etude.models.llama_cpp.gguf import find_base_file
        from etude.models.local.loading import read_tokenizer
        from etude.models.registry import Models
        from etude.render import render

        tokenizer = read_tokenizer(find_base_file(assistant.model.name))
        turns = [(Message("user", row),) for row in rows()[:64]]
        prompts = [
            render(tokenizer, request.messages)
            for request in assistant.build_requests(turns, Models())
        ]
        bodies = [
            {
                "prompt": ids,
                "temperature": 0,
                "max_tokens": assistant.max_tokens,
                "cache_prompt": True,
                **common,
            }
            for ids in prompts
        ]
    else:
        bodies = [
            {"model": "luma", "messages": [{"role": "user", "content": row}], **common}
            for row in rows()[:64]
        ]
    while True:
        yield from bodies


@contextmanager
def server(engine: str, place: Path, *more: str) -> Iterator[tuple[str, dict[str, str], int]]:
    """Context manager: runs a server in a separate process; yields the URL of completions, the
    headers, and its pid.
    """
    own = [
        sys.executable,
        "-m",
        "etude",
        "serve",
        *more,
        f"luma={place}",
        "--engine",
        engine,
        "--port",
        "0",
    ]
    line = [sys.executable, __file__, "--bare", str(place)] if engine == "bare" else own
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            url = re.search(r"http://\S+", told)
            assert url, told
            if engine == "bare":
                yield (
                    f"{url[0]}/v1/completions",
                    {"authorization": f"Bearer {told.split()[-1]}"},
                    process.pid,
                )
            else:
                wait_until_ready(url[0].removesuffix("/v1"))
                yield f"{url[0]}/chat/completions", {}, process.pid
        finally:
            process.kill()


def wait_until_ready(url: str) -> None:
    while not (found := httpx.get(f"{url}/ready").json())["ready"]:
        assert "error" not in found, found["error"]["message"]
        time.sleep(0.1)


def run_bare(assistant: Assistant) -> None:
    """Runs llama.cpp's own HTTP server with the settings of Étude's engine until it is killed."""
    from xllamacpp import Server

    from etude.models.llama_cpp.gguf import find_base_file
    from etude.models.llama_cpp.model import _build_parameters

    parameters = _build_parameters(find_base_file(assistant.model.name), [])
    key = secrets.token_hex(16)
    parameters.api_keys = [key]
    running = Server(parameters)
    print(running.listening_address, key, flush=True)
    time.sleep(86_400)


async def fill(
    url: str, headers: dict[str, str], bodies: Iterator[dict[str, Any]], number: int
) -> None:
    """Asks for one token of many answers at once, so every slot of llama.cpp reads the assistant's
    prompt.
    """
    async with httpx.AsyncClient(timeout=600) as client:
        asked = ({**next(bodies), "max_tokens": 1} for _ in range(number))
        await asyncio.gather(
            *(ask(client, url, headers, body, WindowCounts(1.0)) for body in asked)
        )


async def window(
    url: str,
    headers: dict[str, str],
    bodies: Iterator[dict[str, Any]],
    clients: int,
    seconds: float,
) -> WindowCounts:
    """Runs clients that ask one question after another; returns their measurements in the seconds
    after WARM_UP.
    """
    figures = WindowCounts(seconds=seconds)
    # A new connection for each question: llama.cpp's server closes connections after a while.
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=600, limits=limits) as client:

        async def one() -> None:
            while True:
                await ask(client, url, headers, next(bodies), figures)

        asking = [asyncio.create_task(one()) for _ in range(clients)]
        await asyncio.sleep(WARM_UP)
        figures.characters = 0
        figures.first_seconds = []
        await asyncio.sleep(seconds)
        seen = replace(figures)
        for each in asking:
            each.cancel()
        for error in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(error, asyncio.CancelledError), error
    return seen


async def ask(
    client: httpx.AsyncClient,
    url: str,
    headers: dict[str, str],
    body: dict[str, Any],
    figures: WindowCounts,
) -> None:
    begun = time.perf_counter()
    written = 0
    async with client.stream("POST", url, json=body, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        async for chunk in events(response):
            text = "".join(
                each.get("text") or each.get("delta", {}).get("content") or ""
                for each in chunk["choices"]
            )
            if text and not written:
                figures.first_seconds.append(time.perf_counter() - begun)
            written += len(text)
            figures.characters += len(text)
            if usage := chunk.get("usage"):
                figures.tokens += usage["completion_tokens"]
                figures.finished_characters += written


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


if __name__ == "__main__":
    main()
