"""The command line: what it says when something is wrong, and what it does not load."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import renova
from renova.lab import processes
from renova.lab.home import Home
from renova.main.commands import app
from renova.main.troubles import in_a_sentence

COMMANDS: Any = typer.main.get_command(app)  # made once: it takes as long as many a test
SOURCE = str(Path(renova.__file__).parents[1])


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "renova.main", *arguments]
    return subprocess.run(
        argv,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": SOURCE, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout.startswith("renova 0.")


def commands(group: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Name every command and every group of them, as they are typed."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *path, name)


@pytest.mark.parametrize("path", list(commands(COMMANDS)), ids=" ".join)
def test_every_command_has_help_and_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        COMMANDS([*path, "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Usage: " in shown
    assert " ".join(("Example: renova", *path)) in shown


# What shows or lists something does so for programs, too.
FOR_PEOPLE_ONLY = {"host remove", "host power unset", "host power status", "host power reseal", "lab power"} | {
    f"lab {each}" for each in ("up", "run", "story", "down", "kill")
}
FOR_PEOPLE_ONLY |= {f"lab {each}" for each in ("start", "cut", "heal", "bmc", "exec", "ping")}
FOR_PEOPLE_ONLY |= {"controller", "agent", "simulated-hosts", "version", "guard close-gate"}


@pytest.mark.parametrize("path", list(commands(COMMANDS)), ids=" ".join)
def test_what_is_shown_is_there_as_json(path: tuple[str, ...]) -> None:
    command = COMMANDS
    for name in path:
        command = command.commands[name]
    if not hasattr(command, "commands"):
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--json" in options) is not (" ".join(path) in FOR_PEOPLE_ONLY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lab", "status"), "There is no cloud in "),
        (("lab", "down"), "There is no cloud in "),
        (("lab", "up", "--hosts", "0"), "A real cloud has 1 to 252 hosts, not 0."),
        (("controller", "--config", "/nowhere.toml"), "The settings file /nowhere.toml cannot be read "),
        (("agent", "--config", "/nowhere.toml"), "The settings file /nowhere.toml cannot be read "),
        (("host", "list"), "No session with a cloud "),
        (("witness", "show"), "This host has no witness: the agent's settings name no directory. Name their file by "),
    ],
)
def test_what_has_to_be_set_up_first_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    ended = run(*arguments, RENOVA_HOME=str(tmp_path / "home"), HOME=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(sentence)
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("path", [("guard", "close-gate"), ("guard", "test"), ("witness", "show")], ids=" ".join)
def test_settings_that_would_not_be_heeded_where_they_are_named_are_refused(path: tuple[str, str]) -> None:
    ended = CliRunner().invoke(app, [path[0], "--config", "/etc/renova/agent.toml", path[1]])
    assert ended.exit_code == 2
    assert f"after the command: renova {' '.join(path)} --config" in " ".join(ended.output.replace("│", " ").split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "http_basic", "token", "v2password"])
def test_a_way_to_authenticate_that_cannot_be_gone_is_told_in_a_sentence(kind: str, tmp_path: Path) -> None:
    ended = run("status", OS_AUTH_TYPE=kind, OS_AUTH_URL="http://127.0.0.1:9/identity/v3", HOME=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "this OS_AUTH_TYPE" in ended.stderr
    assert ended.stderr.endswith("Unset that, and source this cloud's openrc.\n")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("below", "why"), [("", "File exists"), ("state", "Not a directory")])
def test_a_file_in_the_way_of_a_directory_is_told_in_a_sentence(below: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run("agent", RENOVA_STATE_DIR=str(tmp_path / "file" / below))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"{tmp_path / 'file' / below}: {why}. Remove ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "sentence", "status"),
    [
        (errno.ENOSPC, "/state: No space left on device. Make room there, or name another place in the settings.", 1),
        (errno.EROFS, "/state: Read-only file system. Mount it writable, or name another place in the settings.", 1),
        (errno.EACCES, "/state: Permission denied. Run this as root, or as who may use it, or name another ", 2),
    ],
)
def test_what_the_machine_refuses_is_told_with_what_helps(number: int, sentence: str, status: int) -> None:
    told = in_a_sentence(OSError(number, os.strerror(number), "/state"))
    assert told is not None
    assert (told[0][: len(sentence)], told[1]) == (sentence, status)


def test_an_error_of_which_nobody_knows_what_helps_keeps_its_traceback() -> None:
    assert in_a_sentence(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) is None


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
from renova.main import run
sys.argv[:] = ["renova", "status"]
run()
"""


@pytest.mark.slow
def test_a_command_without_the_clients_says_how_to_have_them(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WITHOUT, "openstack"]
    environment = {"PATH": os.defpath, "PYTHONPATH": SOURCE, "HOME": str(tmp_path)}
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("This command needs the OpenStack clients (")
    assert ended.stderr.endswith("): run script/bootstrap.\n")


@pytest.mark.slow
def test_a_controller_that_is_away_is_told_in_one_sentence(tmp_path: Path) -> None:
    user = {"OS_USERNAME": "admin", "OS_PASSWORD": "secret", "OS_PROJECT_NAME": "admin"}
    domains = {"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "HOME": str(tmp_path)}
    for arguments in (("host", "list"), ("status", "--json"), ("duty", "run", "orphans")):
        ended = run(*arguments, OS_AUTH_URL="http://127.0.0.1:9/identity/v3", **user, **domains)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == (
            "Nobody answers at http://127.0.0.1:9/identity/v3: start the controller, or have OS_AUTH_URL name one that "
            "runs.\n"
        )


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Serve this status, whatever is asked for, as a load balancer without controllers does; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/identity/v3"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "ends", "sentence"),
    [
        (503, 1, "Whoever answers at {} cannot serve now (Service Unavailable (HTTP 503)): controllers or their "),
        (404, 2, "What answers at {} is no cloud (Not Found (HTTP 404)). OS_AUTH_URL looks like "),
    ],
)
def test_who_answers_and_cannot_serve_is_not_said_to_be_away(
    status: int, ends: int, sentence: str, tmp_path: Path
) -> None:
    user = {"OS_USERNAME": "admin", "OS_PASSWORD": "secret", "OS_PROJECT_NAME": "admin"}
    domains = {"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "HOME": str(tmp_path)}
    with answering(status) as url:
        ended = run("status", OS_AUTH_URL=url, **user, **domains)
    assert (ended.returncode, ended.stdout) == (ends, "")
    assert ended.stderr.startswith(sentence.format(url))
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", [("status",), ("down",), ("up",)])
def test_a_cloud_that_runs_without_its_cloud_json_is_told_and_left_alone(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    home.make()
    started = processes.start(home.pid_file("controller"), ["sleep", "600"], home.log_file("controller"))
    try:
        ended = run("lab", *command, RENOVA_HOME=str(home.path))
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"{home.cloud_json} is gone, but processes of this cloud run: controller (pid ")
        assert started.alive()
        assert not home.cloud_json.exists()
    finally:
        started.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "alien"),
    [
        ("renova.main.agent_process", "sqlalchemy"),
        ("renova.main.agent_process", "starlette"),
        ("renova.main.agent_process", "openstack"),
        ("renova.main.controller_process", "libvirt"),
        ("renova.main.commands", "sqlalchemy"),
        ("renova.main.commands", "openstack"),
        ("renova.lab.power_switch", "openstack"),
        ("renova.lab.power_switch", "typer"),
    ],
)
def test_a_process_does_not_carry_what_others_need(module: str, alien: str) -> None:
    script = f"import {module}, sys; sys.exit({alien!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
