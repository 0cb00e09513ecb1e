"""`etude serve` and `etude studio`. Their servers are imported late, because they need the extra
`serve`.
"""

from __future__ import annotations

import getpass
import json
import math
import os
import re
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etude.base import formatting, issues
from etude.cli.options import MethodName, RunName, RunTools, TaskPath
from etude.errors import InputError, MissingExtraError
from etude.task.endpoint import is_url

if TYPE_CHECKING:
    from etude.serve.engine import ServingLimits

# A client of `etude mcp` -> the file of its settings, and the key there for servers
MCP_CLIENTS = {
    "claude-code": (".mcp.json", "mcpServers"),
    "claude-desktop": ("claude_desktop_config.json", "mcpServers"),
    "codex": ("~/.codex/config.toml", "mcp_servers"),
    "cursor": (".cursor/mcp.json", "mcpServers"),
    "gemini": (".gemini/settings.json", "mcpServers"),
    "vscode": (".vscode/mcp.json", "servers"),
    "windsurf": ("~/.codeium/windsurf/mcp_config.json", "mcpServers"),
    "zed": (".zed/settings.json", "context_servers"),
}
# Test rows that `--check` answers
CHECKED_ROWS = 200
Places = Annotated[
    list[str] | None,
    typer.Argument(
        help="Task files, runs or saved assistants; NAME=PLACE sets a name.", metavar="PLACE..."
    ),
]


def serve(
    places: Places = None,
    method: MethodName = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="auto (the engine that was measured), local, llama_cpp (faster for a single user "
            "without a GPU) or URL#MODEL.",
        ),
    ] = "auto",
    host: Annotated[
        str, typer.Option("--host", help="Any host other than localhost needs --keys.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 chooses a free port.")
    ] = 8000,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse system messages, because they change the prompt that was measured.",
        ),
    ] = False,
    run_tools: RunTools = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Answer 200 test rows with the engine, report the difference and exit."
        ),
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=NUMBER",
            help="Limit such as waiting=200 or seconds=30; may be repeated.",
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="File of accepted API keys, read again when it changes."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="ETUDE_API_KEY",
            show_envvar=False,
            help="One key with all scopes. Better set ETUDE_API_KEY, because others can see "
            "command lines.",
        ),
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(
            "--new-key", metavar="NAME", help="Add a key to the file of --keys, print it and exit."
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="Scope of a new key: chat, feedback, files, train, evals or admin; may be "
            "repeated.",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin", help="Origin whose pages may send requests (CORS); may be repeated."
        ),
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            "--jobs",
            metavar="FOLDER",
            help="Also serve OpenAI's files and fine-tuning jobs, stored in FOLDER.",
        ),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            "--base",
            metavar="NAME=MODEL",
            help="Model that jobs train when a client asks for NAME, such as "
            "gpt-4o-mini=smollm2-135m-instruct.",
        ),
    ] = None,
    grader: Annotated[
        list[str] | None,
        typer.Option(
            "--grader",
            metavar="NAME=URL#MODEL",
            help="Model behind a URL that grades evals under this name.",
        ),
    ] = None,
    result_files: Annotated[
        str,
        typer.Option(
            "--result-files",
            help="Encoding of a job's table of steps: base64 (as OpenAI does) or plain.",
        ),
    ] = "base64",
    quota: Annotated[
        float, typer.Option("--quota", help="Maximum size of all files of --jobs, in gigabytes.")
    ] = 10.0,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record", metavar="FOLDER", help="Append answered requests to files for etude watch."
        ),
    ] = None,
    record_days: Annotated[
        int,
        typer.Option(
            "--record-days", min=1, help="Days after which a file of --record is deleted."
        ),
    ] = 30,
    record_size: Annotated[
        float,
        typer.Option("--record-size", min=0.001, help="Maximum size of --record, in gigabytes."),
    ] = 1.0,
    record_plain: Annotated[
        bool, typer.Option("--record-plain", help="Do not mask personal data in the record.")
    ] = False,
) -> None:
    """Serve assistants to clients of OpenAI's API."""
    if check:
        check_engine(places or [], method, engine)
        return
    if not all(find_spec(module) for module in ("fastapi", "uvicorn", "prometheus_client")):
        raise MissingExtraError("etude serve", "serve")
    from etude.serve.catalogue import ENGINES
    from etude.serve.extension import ExtensionOptions, load_extensions
    from etude.serve.launch import run_server
    from etude.serve.server import ServerSettings
    from etude.watch.record import TrafficRecord
    from etude.web import api_keys

    if new_key is not None:
        if keys is None:
            raise InputError.of(
                "--new-key", "no file to add the key to", new_key, "add --keys FILE"
            )
        typer.echo(api_keys.create_key(keys, new_key, scope or ["chat"]))
        return
    if not places and jobs is None:
        raise InputError.of(
            "PLACE", "nothing to serve", "", "give a task file, a run or a saved assistant"
        )
    issues.check_known("--engine", [] if is_url(engine) else [engine], ENGINES)
    if keys:
        api_keys.read_keys(keys)
    own = (
        (api_keys.ApiKey("api-key", api_keys.hash_key(api_key), api_keys.SCOPES),)
        if api_key
        else ()
    )
    settings = ServerSettings(
        parse_limits(limit or []),
        own,
        keys,
        strict,
        is_local=not (own or keys),
        origins=tuple(origin or []),
        record=TrafficRecord(record, record_days, record_plain, 1e9 * record_size)
        if record
        else None,
    )
    if result_files not in ("base64", "plain"):
        raise InputError.of("--result-files", "unknown", result_files, "use base64 or plain")
    options = ExtensionOptions(
        jobs,
        parse_bases(base or []),
        parse_names("--grader", grader or [], "judge=http://localhost:8001/v1#MODEL"),
        result_files=result_files,
        quota_gb=quota,
    )
    extensions = load_extensions(options)
    run_server(places or [], method, engine, host, port, settings, extensions, run_tools)


def check_engine(places: Sequence[str], method: str | None, engine: str) -> None:
    """Answer test rows of each run with the engine. Exit with 1 if a run loses more than its
    margin.
    """
    from etude.export import measure_loss
    from etude.runs import Run
    from etude.serve.catalogue import load_catalogue

    is_worse = False
    for served in load_catalogue(places, method, engine).values():
        result = measure_loss(
            Run(served.folder), served.assistant, served.assistant.model, CHECKED_ROWS
        )
        typer.echo(f"{served.name}: {result.sentence}")
        is_worse |= result.is_worse
    if is_worse:
        raise typer.Exit(1)


def parse_bases(texts: Sequence[str]) -> dict[str, str]:
    """Parse bases given as NAME=MODEL. Raises InputError for a model that cannot be trained."""
    from etude.models.registry import find_backend

    bases = parse_names("--base", texts, "gpt-4o-mini=smollm2-135m-instruct")
    for name, model in bases.items():
        if not {"train", "learn"} & {*find_backend(model).can}:
            remedy = "give a model whose weights are on this machine"
            raise InputError.of("--base", "cannot be trained", model, remedy)
        bases[name] = str(Path(model).absolute()) if Path(model).exists() else model
    return bases


def parse_names(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    """Parse values given as NAME=VALUE. Raises InputError."""
    names: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise InputError.of(option, "not NAME=VALUE", text, f"write it as in {example}")
        names[name] = value
    return names


def parse_limits(texts: Sequence[str]) -> ServingLimits:
    """Parse limits given as NAME=NUMBER. Raises InputError."""
    from etude.serve.engine import ServingLimits

    defaults = asdict(ServingLimits())
    limits = dict[str, float]()
    for text in texts:
        name, _, value = text.partition("=")
        issues.check_known("--limit", [name], defaults)
        if not re.fullmatch(r"\d+(\.\d+)?", value) or not float(value):
            raise InputError.of(
                "--limit", "not a number above 0", text, f"write {name}={defaults[name]}"
            )
        limits[name] = type(defaults[name])(
            math.ceil(float(value)) if isinstance(defaults[name], int) else value
        )
    return ServingLimits(**limits)  # type: ignore[arg-type]


def studio(
    task: TaskPath,
    requests: Annotated[
        Path | None,
        typer.Option(
            "--requests",
            help="A file of new requests or logged chats, which the assistant answers.",
        ),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", help="Column of the requests' input; may be repeated."),
    ] = None,
    method: MethodName = None,
    run: RunName = None,
    who: Annotated[
        str | None,
        typer.Option("--who", help="Your name, stored with your feedback. Default: your login."),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="Name or address under which other machines open the pages."),
    ] = "127.0.0.1",
    invite: Annotated[
        list[str] | None,
        typer.Option(
            "--invite",
            help="Print a link for a person: NAME:ROLE with reader, reviewer, expert or owner; may "
            "be repeated.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 chooses a free port.")
    ] = 8765,
    open_browser: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open", help="Open the browser. Default: if run in a terminal on a desktop."
        ),
    ] = None,
) -> None:
    """Open pages on which people read, accept and correct answers. Ctrl-C stops it."""
    try:
        import uvicorn

        from etude.studio.sign_in import SignIn, invite_person
        from etude.studio.studio import Studio
        from etude.studio.views import build_studio_app
        from etude.web.connections import open_listener
        from etude.web.shell import LOOPBACK
    except ImportError as error:
        raise MissingExtraError("etude studio", "serve") from error
    if host in ("0.0.0.0", "::", ""):
        message = "a browser cannot open this address"
        remedy = "give the name or address that people open"
        raise InputError.of("--host", message, host, remedy)
    # Invitations and the port are checked before the model is loaded, which takes seconds.
    people = [invite_person(text) for text in invite or []]
    with open_listener(host, port) as server_socket:
        opened = Studio(task, requests, input or [], run, method)
        app = build_studio_app(opened, who or getpass.getuser(), host)
        link = f"http://{host}:{server_socket.getsockname()[1]}/enter?key="
        typer.echo(f"Answers come from {opened.method} of {opened.run.name}.{opened.reason}")
        if opened.num_sealed:
            left_out = formatting.format_count(opened.num_sealed, "request")
            typer.echo(
                f"Left out, because the test has the same or nearly the same input: {left_out}."
            )
        for person, key in people:
            opened.queue.invite(person.name, person.role, person.hash)
            typer.echo(f"For {person.name} ({person.role}), shown only once: {link}{key}")
        if host not in LOOPBACK:
            typer.echo(
                "Without a TLS proxy in front of it, others on the network can read everything "
                "that is sent."
            )
        owner = SignIn(opened.queue.secret).owner_key
        typer.echo(f"Open {link}{owner}\nFeedback is saved in {opened.log.file}. Ctrl-C stops it.")
        if _is_on_desktop() if open_browser is None else open_browser:
            webbrowser.open(f"{link}{owner}")  # the socket already listens
        # Answers are written in a thread while the pages are open.
        opened.answering.start()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        server.run(sockets=[server_socket])
        opened.answering.stop()


def _is_on_desktop() -> bool:
    """Whether the command was started on a desktop; elsewhere a browser could take over the
    terminal.
    """
    is_local = sys.stdout.isatty() and "SSH_CONNECTION" not in os.environ
    return is_local and (
        sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ})
    )


def mcp(
    print_config: Annotated[
        str | None,
        typer.Option(
            "--print-config",
            metavar="CLIENT",
            help="Print the setting with which a client starts this command: "
            f"{', '.join(MCP_CLIENTS)}.",
        ),
    ] = None,
) -> None:
    """Offer Étude's functions as tools of the Model Context Protocol, on stdin and stdout."""
    if not find_spec("mcp"):
        raise MissingExtraError("etude mcp", "mcp")
    if print_config is not None:
        print_client_config(print_config)
        return
    from etude.mcp_server import build_server

    build_server().run()


def print_client_config(client: str) -> None:
    """Print a client's setting to stdout, and the file for it to stderr. Raises InputError for an
    unknown client.
    """
    issues.check_known("--print-config", [client], MCP_CLIENTS, "unknown client")
    file, key = MCP_CLIENTS[client]
    # Editors do not know the environment of this terminal, so they get the path of its Python.
    server = {"command": sys.executable, "args": ["-m", "etude", "mcp"]}
    if file.endswith(".toml"):  # a JSON string or list is also one in TOML
        lines = [
            f"[{key}.etude]",
            *(f"{name} = {json.dumps(value)}" for name, value in server.items()),
        ]
        text = "\n".join(lines)
    else:
        text = json.dumps({key: {"etude": server}}, indent=2)
    typer.echo(f"Add this to {file}:", err=True)
    typer.echo(text)
