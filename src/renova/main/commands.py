"""The command line. What a command needs is imported inside it, and only there: an agent must not carry what a
controller or the lab needs.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from renova.main.lab_commands import lab
from renova.model.errors import BadSetup

if TYPE_CHECKING:
    from renova.cli.hosts import HostsClient

app = typer.Typer(
    name="renova",
    help="Renova: an OpenStack-compatible compute service that keeps servers alive.",
    epilog="A cloud on this machine: renova lab up. Its servers are for the openstack client: openstack server list.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
host = typer.Typer(help="Hosts of a cloud: list them, let new ones join. Uses OS_* variables.", no_args_is_help=True)
app.add_typer(host, name="host")
app.add_typer(lab, name="lab")
duty = typer.Typer(help="What a controller looks over now and then. Uses OS_* variables.", no_args_is_help=True)
app.add_typer(duty, name="duty")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings; RENOVA_<NAME> overrides it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: renova controller --config /etc/renova/controller.toml")
def controller(
    config: ConfigFile = None,
    agents_fd: Annotated[
        int | None, typer.Option(metavar="N", help="Serve agents on the listening socket with this descriptor.")
    ] = None,
) -> None:
    """Run a controller: the API, the operations, and the port for agents."""
    from renova.main.controller_process import serve
    from renova.settings import ControllerSettings, load

    serve(load(ControllerSettings, config), agents_fd)


@app.command(epilog="Example: renova agent --config /etc/renova/agent.toml")
def agent(config: ConfigFile = None) -> None:
    """Run the agent of this host: its guests, ports and disks."""
    import asyncio
    import os
    import socket
    import sys

    from msgspec.structs import replace

    from renova import log
    from renova.main.joining import join
    from renova.model.clock import SystemClock
    from renova.settings import AgentSettings, load

    settings = load(AgentSettings, config)
    log.set_up(settings.log_level, process="agent")
    asyncio.run(join(replace(settings, name=settings.name or socket.gethostname()), SystemClock()))
    # Becomes the agent itself: for as long as the host lives, nothing of this command line stays in its memory.
    argv = [sys.executable, "-m", "renova.main.agent_process", *([str(config)] if config else [])]
    os.execv(sys.executable, argv)  # noqa: S606  (no shell is wanted)


@app.command(epilog="Example: renova simulated-hosts --home .renova --hosts 3")
def simulated_hosts(
    home: Annotated[Path, typer.Option(help="Directory of the cloud, made by renova lab up.", resolve_path=True)],
    hosts: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")],
    local_disks: Annotated[bool, typer.Option("--local-disks", help="Each has disks of its own.")] = False,
) -> None:
    """Run simulated hosts, each with its agent, in this process; renova lab up --simulated starts it."""
    from renova.lab.home import Home
    from renova.main.simulated_process import serve

    serve(Home(home), hosts, local_disks=local_disks)


@app.command(epilog="Example: renova version")
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"renova {installed_version('renova')}\n")


@host.command("list", epilog="Example: renova host list --json")
def list_hosts(as_json: Json = False) -> None:
    """List hosts: where each stands with the control plane, and why."""
    found = _client().hosts()
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return
    table = Table("Name", "State", "Up", "Address", "Guests by", "Silent", "Proof of death")
    for each in found:
        silent = "" if each["silent_s"] is None else f"{each['silent_s']:.1f} s"
        proof = each["proof"]["kind"] if each["proof"] else ""
        up = "yes" if each["up"] else "no"
        table.add_row(each["name"], each["state"], up, each["address"], each["accelerator"], silent, proof)
    Console().print(table)


@host.command("join-token", epilog="Example: renova host join-token --count 3 --hours 24")
def make_join_token(
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many; each is good for one host.")] = 1,
    hours: Annotated[float, typer.Option(min=0.01, help="How long they are good for.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Make tokens with which new hosts join: each is the content of an agent's join_token_file."""
    tokens = _client().join_tokens(count, hours)
    sys.stdout.write(msgspec.json.encode(tokens).decode() + "\n" if as_json else "\n".join(tokens) + "\n")


@app.command("duties", epilog="Example: renova duties --json")
def list_duties(as_json: Json = False) -> None:
    """List what the controller looks over now and then, and what it found the last time."""
    _show(_client().duties(), as_json=as_json)


@duty.command("run", epilog="Example: renova duty run allocations")
def run_duty(
    name: Annotated[str, typer.Argument(help="Which; renova duties lists them.")], as_json: Json = False
) -> None:
    """Have the controller look over it now, and show what it found."""
    _show([_client().do_duty(name)], as_json=as_json)


def _show(rounds: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rounds)).decode() + "\n")
        return
    table = Table("Duty", "Every", "Last", "Took", "Looked at", "Mended", "Failed")
    for each in rounds:
        every = f"{each['every_s']:g} s" if each["every_s"] else "on demand"
        took = f"{each['took_s']:.1f} s" if each["began_at"] else ""
        counts = [str(each[name]) if each["began_at"] else "" for name in ("looked", "mended", "failed")]
        table.add_row(each["name"], every, (each["began_at"] or "")[:19], took, *counts)
    Console().print(table)
    for each in rounds:
        if each["error"]:
            sys.stdout.write(f"{each['name']}: not finished: {each['error']}\n")
        for finding in each["findings"]:
            where = " ".join(part for part in (finding["host"], finding["server"]) if part)
            state = "mended" if finding["mended"] else "as it is"
            sys.stdout.write(f"{each['name']}: {where}: {finding['what']} ({state})\n")


def _client() -> "HostsClient":
    try:
        from renova.cli.hosts import HostsClient
        from renova.cli.session import connect
    except ModuleNotFoundError as error:
        raise BadSetup(f"This command needs the OpenStack clients ({error}): pip install 'renova[lab]'.") from error
    return HostsClient(connect())
