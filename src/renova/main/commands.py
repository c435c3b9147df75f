"""The command line. What a command needs is imported inside it, and only there: an agent must not carry what a
controller or the lab needs.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from renova.main.guard_commands import guard
from renova.main.lab_commands import lab
from renova.main.maintenance_commands import drain
from renova.main.operator_commands import brake, database, duties, duty, host, proofs, rehearse, status
from renova.main.power_commands import power
from renova.main.recovery_commands import recoveries
from renova.main.witness_commands import witness

app = typer.Typer(
    name="renova",
    help="Renova: an OpenStack-compatible compute service that keeps servers alive.",
    epilog="Example: renova lab up. For the servers of that cloud: openstack server list --all-projects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog="Example: renova status --json")(status)
app.command(epilog="Example: renova proofs")(proofs)
app.command(epilog="Example: renova duties --json")(duties)
app.command(epilog="Example: renova rehearse compute7 compute8, or renova rehearse --any 2")(rehearse)
host.add_typer(power, name="power")
host.command(epilog="Example: renova host drain compute7 --reason 'new fans'")(drain)
app.add_typer(host, name="host")
app.add_typer(recoveries, name="recoveries")
app.add_typer(brake, name="brake")
app.add_typer(database, name="database")
app.add_typer(lab, name="lab")
app.add_typer(duty, name="duty")
app.add_typer(guard, name="guard")
app.add_typer(witness, name="witness")

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
    from renova.model.errors import BadSetup

    if not home.is_dir():
        raise BadSetup(f"There is no cloud in {home}: make one with `renova lab up --simulated`.")
    serve(Home(home), hosts, local_disks=local_disks)


@app.command(epilog="Example: renova version")
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"renova {installed_version('renova')}\n")
