"""`renova lab`: a cloud on this machine, made, looked at, hurt and taken down."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from renova.model.errors import BadSetup

if TYPE_CHECKING:
    from renova.lab.cloud import LabCloud

lab = typer.Typer(
    help="A cloud on this machine: hosts in namespaces with real guests, or simulated ones.",
    epilog="Example: renova lab up --simulated 3",
    no_args_is_help=True,
)


def _default_home() -> Path:
    """Return .renova in the checkout that this runs from; without one, in the working directory."""
    checkout = Path(__file__).parents[3]
    return (checkout if (checkout / "script" / "run").exists() else Path.cwd()) / ".renova"


Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="RENOVA_HOME",
        default_factory=_default_home,
        show_default=".renova in the checkout",
        help="Directory of the cloud.",
        resolve_path=True,
    ),
]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="Name of a host, such as host1.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Hosts = Annotated[int | None, typer.Option(metavar="N", help="How many hosts; as many as there are, else 3.")]
ApiPort = Annotated[int | None, typer.Option(min=1, max=65534, help="The API's port; as it is, else 8774.")]
Controllers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=5,
        metavar="N",
        help="How many controllers; several have PostgreSQL and a load balancer. As it is, else one.",
    ),
]
Recovery = Annotated[
    bool | None,
    typer.Option(
        "--recovery/--no-recovery",
        help="Whether servers of dead hosts come back by themselves; as it is, else not: the story evacuates by hand.",
        show_default=False,
    ),
]
Armed = Annotated[
    bool | None,
    typer.Option(
        "--armed/--not-armed",
        help="Whether the hosts' guards are armed: what proves a dead host is its lease then, and no power is read. As "
        "it is, else not.",
        show_default=False,
    ),
]
Witness = Annotated[
    bool | None,
    typer.Option(
        "--witness/--no-witness",
        help="Whether armed hosts have a witness: then they go on while nothing controls them. As it is, else not.",
        show_default=False,
    ),
]
LocalDisks = Annotated[
    bool | None,
    typer.Option(
        "--local-disks/--shared-disks",
        help="Whether each host has an instances directory of its own; as it is, else one that all share.",
        show_default=False,
    ),
]


@lab.command(epilog="Example: renova lab up --simulated 1000 --home /tmp/big --api-port 9774")
def up(
    home: Home,
    hosts: Hosts = None,
    simulated: Annotated[int | None, typer.Option(metavar="N", help="N simulated hosts; needs no root.")] = None,
    api_port: ApiPort = None,
    local_disks: LocalDisks = None,
    controllers: Controllers = None,
    recovery: Recovery = None,
    armed: Armed = None,
    witness: Witness = None,
) -> None:
    """Have the cloud up: what is down is started, what was made stays. Mends a half-dead cloud, too."""
    from renova.lab.progress import Teller

    hosts = hosts if simulated is None else simulated
    _planned(
        home,
        hosts,
        api_port,
        simulated=None if simulated is None else True,
        local_disks=local_disks,
        controllers=controllers,
        recovery=recovery,
        armed=armed,
        witness=witness,
    ).up(Teller(Console()))


@lab.command(epilog="Example: renova lab run --simulated --once")
def run(
    home: Home,
    hosts: Hosts = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Simulated hosts; needs no root.")] = False,
    story: Annotated[bool, typer.Option(help="Tell the story of a server's life on it.")] = True,
    once: Annotated[bool, typer.Option("--once", help="Stop everything at the end.")] = False,
    api_port: ApiPort = None,
    local_disks: LocalDisks = None,
    controllers: Controllers = None,
) -> None:
    """Have the cloud up, tell the story on it, and say how to go on."""
    from renova.lab.progress import Teller

    teller = Teller(Console())
    cloud = _planned(
        home, hosts, api_port, simulated=simulated or None, local_disks=local_disks, controllers=controllers
    )
    try:
        cloud.up(teller)
        if story:
            _tell(cloud)
    finally:
        if once:
            cloud.down(teller)
    if not once:
        _say_how_to_go_on(cloud)


@lab.command(epilog="Example: renova lab story")
def story(home: Home) -> None:
    """Tell the story of a server's life on the cloud, which is up: create, reboot, rebuild, evacuate."""
    _tell(_found(home))


@lab.command(epilog="Example: renova lab down")
def down(home: Home) -> None:
    """Stop everything. Data stays; for guests it is a power cut."""
    from renova.lab.progress import Teller

    _found(home).down(Teller(Console()))


@lab.command(epilog="Example: renova lab status --json")
def status(home: Home, as_json: Json = False) -> None:
    """Show the cloud's processes and hosts."""
    found = _found(home).status()
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return
    console = Console()
    console.print(f"{found.home}: API {found.api} {'answers' if found.answers else 'does not answer'}", highlight=False)
    table = Table("Process", "PID", "State")
    for process in found.processes:
        table.add_row(process.name, str(process.pid or ""), "runs" if process.running else "is dead")
    console.print(table)
    table = Table("Host", "Power", "Cable", "Agent", "State", "Up")
    for host in found.hosts:
        up_now = "" if host.up is None else "yes" if host.up else "no"
        agent = "runs" if host.agent else "is dead" if host.power == "on" else ""
        table.add_row(host.name, host.power, host.cable, agent, host.state or "?", up_now)
    console.print(table)


@lab.command(epilog="Example: renova lab kill host2")
def kill(host: HostName, home: Home) -> None:
    """Cut a host's power: its agent and guests die at once."""
    _found(home).kill(host)


@lab.command(epilog="Example: renova lab start host2")
def start(host: HostName, home: Home) -> None:
    """Power a host on."""
    _found(home).start(host)


@lab.command(epilog="Example: renova lab cut host2")
def cut(host: HostName, home: Home) -> None:
    """Unplug a host's network: a partition; its guests run on."""
    _found(home).cut(host)


@lab.command(epilog="Example: renova lab heal host2")
def heal(host: HostName, home: Home) -> None:
    """Plug a host's network in again."""
    _found(home).heal(host)


@lab.command(epilog="Example: renova lab power host2")
def power(host: HostName, home: Home) -> None:
    """Print a host's power: on or off."""
    from renova.lab import home as homes
    from renova.lab.power_switch import powered

    sys.stdout.write("on\n" if powered(homes.Home(home), host) else "off\n")


@lab.command(epilog="Example: renova lab bmc")
def bmc(home: Home) -> None:
    """Have a BMC (Redfish) that really switches the hosts' power, and each host wired to it."""
    from renova.lab.progress import Teller

    _found(home).wire_power(Teller(Console()))


@lab.command("exec", epilog="Example: renova lab exec host1 -- virsh list --all")
def execute(host: HostName, command: Annotated[list[str], typer.Argument(metavar="COMMAND...")], home: Home) -> None:
    """Run a command on a host with real guests; its exit status becomes ours."""
    argv = _found(home).exec_argv(host, command)
    raise typer.Exit(subprocess.run(argv, check=False).returncode)


@lab.command(epilog="Example: renova lab ping 10.0.0.5")
def ping(address: Annotated[str, typer.Argument(help="Address of a server.")], home: Home) -> None:
    """Ping a server from the lab's rack; exit status 1 when it does not answer."""
    cloud = _found(home)
    cloud.machines.check()
    answered = cloud.machines.ping(address)
    if answered is None:
        raise BadSetup("Simulated networks carry nothing, so no server answers a ping.")
    sys.stdout.write(f"{address} {'answers' if answered else 'does not answer'}\n")
    raise typer.Exit(0 if answered else 1)


def _planned(
    home: Path,
    hosts: int | None,
    api_port: int | None,
    *,
    simulated: bool | None,
    local_disks: bool | None,
    controllers: int | None,
    recovery: bool | None = None,
    armed: bool | None = None,
    witness: bool | None = None,
) -> "LabCloud":
    """Return the cloud as it is to be."""
    _need_clients()
    from renova.lab import blueprint
    from renova.lab.cloud import LabCloud, known_in
    from renova.lab.home import Home as LabHome

    lab_home = LabHome(home)
    known = known_in(lab_home)
    plan = blueprint.plan(
        known,
        simulated=simulated,
        hosts=hosts,
        api_port=api_port,
        local_disks=local_disks,
        controllers=controllers,
        recovery=recovery,
        armed=armed,
        witness=witness,
    )
    return LabCloud(lab_home, plan)


def _found(home: Path) -> "LabCloud":
    _need_clients()
    from renova.lab.cloud import LabCloud
    from renova.lab.home import Home as LabHome

    return LabCloud.found(LabHome(home))


def _need_clients() -> None:
    try:
        import openstack  # noqa: F401  (only whether it is there)
    except ModuleNotFoundError as error:
        raise BadSetup("The lab needs the OpenStack clients: run script/bootstrap.") from error


def _tell(cloud: "LabCloud") -> None:
    from renova.lab.progress import Teller
    from renova.lab.story import Story

    Story(cloud, Teller(Console())).tell()


def _say_how_to_go_on(cloud: "LabCloud") -> None:
    home = cloud.home
    lines = [
        "The cloud is up. Go on with:",
        f"  source {_short(home.openrc)}        (as admin; demo-openrc for an ordinary user)",
        "  openstack server list --all-projects",
        "  renova lab status",
        f"Logs are in {_short(home.logs)}. Stop it with: script/run stop",
    ]
    Console().print("\n" + "\n".join(lines), highlight=False, soft_wrap=True)


def _short(path: Path) -> str:
    """Name a path as seen from here, if that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
