"""Kill the server of OpenAI's API and its workers at random moments, and test that nothing is lost or done twice.

    python bench/hosted_kills.py [--kills 30] [--seconds 900]

Three jobs train a tiny model, which is built here; a batch and an eval run use one of the results. The server and the
worker are killed (SIGKILL) in turn until all work has ended and the number of kills is reached. Then every job must
have succeeded with the same steps as a job without kills, every event must exist once, and every request of the
batch and every item of the eval must have one result.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import openai

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from etude.jobs.job import list_jobs
from etude.jobs.worker import MAX_ATTEMPTS
from tiny import save_tiny_model

NUM_JOBS = 3
EVAL = {
    "type": "string_check",
    "name": "any",
    "input": "{{sample.output_text}}",
    "reference": "{{item.word}}",
    "operation": "ne",
}


class Server:
    """`etude serve --jobs` as a child process that can be killed and restarted."""

    def __init__(self, folder: Path, base: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder, self.base = folder, base
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=8
        )
        self.start()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = [
            sys.executable,
            "-m",
            "etude",
            "serve",
            "--jobs",
            str(self.folder),
            "--port",
            str(self.port),
        ]
        command += ["--base", f"gpt-4o-mini={self.base}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            time.sleep(0.1)
            try:
                self.client.with_options(max_retries=0, timeout=5).models.list()
                return
            except openai.OpenAIError:
                continue
        sys.exit("the server did not start within 30 s")

    def kill(self) -> None:
        """Kills only the server with SIGKILL, then restarts it."""
        self.process.kill()
        self.process.wait()
        self.start()

    def kill_worker(self) -> bool:
        """Kills a worker with SIGKILL, if one is running whose job may be attempted again."""
        jobs = list_jobs(self.folder / "fine_tuning" / "queue")
        running = next((job.status for job in jobs if job.state == "running"), {})
        if not 0 < running.get("attempt", 0) < MAX_ATTEMPTS:
            return False
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"etude.jobs.worker" in command and str(self.folder).encode() in command:
                os.kill(int(folder.name), signal.SIGKILL)
                return True
        return False


def main() -> None:
    """Runs the kills and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=30, help="kills of the server; the worker is killed equally often"
    )
    parser.add_argument("--seconds", type=float, default=900)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hosted-kills-"))
    server = Server(folder / "jobs", save_tiny_model(folder / "tiny"))
    atexit.register(lambda: server.process.terminate())  # also after an error
    client, draw, deadline = server.client, random.Random(0), time.monotonic() + args.seconds
    file = client.files.create(file=("rows.jsonl", make_rows(24)), purpose="fine-tune").id
    kills: Counter[str] = Counter()
    rounds = 0
    while min(kills["server"], kills["worker"]) < args.kills and time.monotonic() < deadline:
        rounds += 1
        jobs = [
            client.fine_tuning.jobs.create(
                model="gpt-4o-mini",
                training_file=file,
                hyperparameters={"n_epochs": 6, "batch_size": 4},
                seed=n,
            ).id
            for n in range(NUM_JOBS)
        ]
        kill_until_done(server, partial(all_ended, client, jobs), kills, args.kills, draw, deadline)
        check_jobs(client, jobs)
        model = client.fine_tuning.jobs.retrieve(jobs[0]).fine_tuned_model or ""
        batch, evaluation, run = start_batch_and_eval(client, model)
        kill_until_done(
            server,
            partial(have_completed, client, batch, evaluation, run),
            kills,
            args.kills,
            draw,
            deadline,
            server_only=True,
        )
        check_batch_and_eval(client, batch, evaluation, run)
        print(
            f"round {rounds}: {NUM_JOBS} jobs, a batch and an eval ended as they should; kills so far {dict(kills)}"
        )


def make_rows(num_rows: int) -> bytes:
    """Chats with one-word answers."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"word {n % 2}"},
                {"role": "assistant", "content": "ab"[n % 2]},
            ]
        }
        for n in range(num_rows)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def all_ended(client: openai.OpenAI, jobs: list[str]) -> bool:
    """Whether every job has ended."""
    return all(client.fine_tuning.jobs.retrieve(job).status in ("succeeded", "failed") for job in jobs)


def have_completed(client: openai.OpenAI, batch: str, evaluation: str, run: str) -> bool:
    """Whether the batch and the eval run have succeeded."""
    is_answered = client.batches.retrieve(batch).status == "completed"
    return is_answered and client.evals.runs.retrieve(run, eval_id=evaluation).status == "completed"


def kill_until_done(server, is_done, kills, num_kills, draw, deadline, server_only=False) -> None:
    """Kills server and worker in turn, at random moments, until all work is finished."""
    while not is_done():
        if time.monotonic() > deadline:
            sys.exit(f"not done in time; kills {dict(kills)}")
        is_server = server_only or (kills["server"] < num_kills and draw.random() < 0.5)
        target = "server" if is_server else "worker"
        # A worker needs about four seconds until it trains.
        time.sleep(draw.uniform(0.2, 4.0) if is_server else draw.uniform(1.0, 10.0))
        if kills[target] >= num_kills:
            continue
        if target == "server":
            server.kill()
            kills[target] += 1
        elif server.kill_worker():
            kills[target] += 1


def check_jobs(client: openai.OpenAI, jobs: list[str]) -> None:
    """Exits unless every job has succeeded with each step once."""
    for job in jobs:
        done = client.fine_tuning.jobs.retrieve(job)
        if done.status != "succeeded":
            sys.exit(f"{job}: {done.status}, {done.error}")
        messages = [event.message for event in client.fine_tuning.jobs.list_events(job, limit=100)]
        steps = [message.split(":")[0] for message in messages if message.startswith("Step ")]
        if sorted(steps) != sorted(f"Step {n}/36" for n in range(1, 37)) or len(messages) != len(
            set(messages)
        ):
            sys.exit(f"{job}: steps or events are missing or stand twice: {messages}")


def start_batch_and_eval(client: openai.OpenAI, model: str) -> tuple[str, str, str]:
    """Creates a batch, an eval and its run with a tuned model; returns their ids."""
    lines = [
        {
            "custom_id": f"q{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": f"word {n}"}]},
        }
        for n in range(40)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("batch.jsonl", content), purpose="batch").id
    batch = client.batches.create(
        input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
    ).id
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    evaluation = client.evals.create(
        data_source_config={"type": "custom", "item_schema": schema}, testing_criteria=[EVAL]
    ).id
    source = {
        "type": "completions",
        "model": model,
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.word}}"}]},
        "source": {"type": "file_content", "content": [{"item": {"word": f"word {n}"}} for n in range(40)]},
    }
    return batch, evaluation, client.evals.runs.create(evaluation, data_source=source).id


def check_batch_and_eval(client: openai.OpenAI, batch: str, evaluation: str, run: str) -> None:
    """Exits unless every request and item has one result."""
    done = client.batches.retrieve(batch)
    lines = client.files.content(done.output_file_id or "").text.splitlines()
    ids = [json.loads(line)["custom_id"] for line in lines]
    items = [
        item.datasource_item_id
        for item in client.evals.runs.output_items.list(run, eval_id=evaluation, limit=100)
    ]
    if sorted(ids) != sorted(f"q{n}" for n in range(40)) or sorted(items) != list(range(40)):
        sys.exit(f"lost or doubled: batch {len(ids)} of 40, eval {len(items)} of 40")


if __name__ == "__main__":
    main()
