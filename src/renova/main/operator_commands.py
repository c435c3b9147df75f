"""Commands for those who run a cloud: `renova status`, `proofs`, `duties`, `host ...`, `database ...`.

Each speaks Renova's own API with an administrator's OS_* variables.
"""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from renova.model.errors import BadSetup

if TYPE_CHECKING:
    from renova.cli.hosts import HostsClient

host = typer.Typer(
    help="Hosts of a cloud: list and show them, let new ones join, say what you know of them. Uses OS_* variables.",
    epilog="Example: renova host list",
    no_args_is_help=True,
)
database = typer.Typer(
    help="A database that lost commits, as after a restored backup: go on with it. Uses OS_* variables.",
    epilog="Example: renova database restored",
    no_args_is_help=True,
)
duty = typer.Typer(
    help="What a controller looks over now and then. Uses OS_* variables.",
    epilog="Example: renova duty run allocations",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="HOST", help="The host's name.")]


def status(as_json: Json = False) -> None:
    """Say how the cluster stands: its era, whether it is on hold and why, its controllers and its database."""
    _show_status(_client().status(), as_json)


def proofs(as_json: Json = False) -> None:
    """List the proofs of hosts' deaths, the newest first, and how far each can be relied on."""
    found = _client().proofs()
    if as_json:
        _print_json(found)
    else:
        _print_proofs(found)


@host.command("list", epilog="Example: renova host list --json")
def list_hosts(as_json: Json = False) -> None:
    """List hosts: where each stands with the control plane, and why."""
    found = sorted(_client().hosts(), key=lambda each: str(each["name"]))
    if as_json:
        _print_json(found)
        return
    table = Table("Name", "State", "Up", "Address", "Guests by", "Silent", "Proof of death")
    for each in found:
        silent = "" if each["silent_s"] is None else f"{each['silent_s']:.1f} s"
        proof = each["proof"]["kind"] if each["proof"] else ""
        up = "yes" if each["up"] else "no"
        table.add_row(each["name"], each["state"], up, each["address"], each["accelerator"], silent, proof)
    Console().print(table)


@host.command("show", epilog="Example: renova host show compute7")
def show_host(name: Name, as_json: Json = False) -> None:
    """Show all there is to know of a host: who disabled it, what it has yet to clean up, every proof."""
    _show_host(_client().host(name), as_json)


@host.command("remove", epilog="Example: renova host remove storage2")
def remove(name: Name) -> None:
    """Remove a storage host that holds nothing any more. A compute host goes with its compute service."""
    _client().remove(name)


@host.command("vouch", epilog="Example: renova host vouch compute7")
def vouch(
    name: Name,
    now: Annotated[bool, typer.Option("--now", help="Do not wait until its lease has lapsed.")] = False,
    as_json: Json = False,
) -> None:
    """Give your word that a host is off, so that its servers may go elsewhere. Nobody verifies it."""
    _show_host(_client().vouch(name, now), as_json)


@host.command("clean", epilog="Example: renova host clean compute7 --wait 60")
def clean(
    name: Name,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until it is done.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Have a host that runs clean up servers that live elsewhere; says what is left, and what is in the way."""
    client = _client()
    shown = client.clean(name)
    until = time.monotonic() + wait
    while shown["owes"] and time.monotonic() < until:
        time.sleep(0.5)
        shown = client.host(name)
    _show_host(shown, as_json)
    if shown["owes"]:
        raise typer.Exit(1)


@host.command("aside", epilog="Example: renova host aside compute7")
def list_asides(name: Name, as_json: Json = False) -> None:
    """List disks that servers left on a host; kept in _aside of its instances directory for some days."""
    found = _client().asides(name)
    if as_json:
        _print_json(found)
        return
    table = Table("Server", "Incarnation", "Set aside", "Directory")
    for each in found:
        table.add_row(each["server"], str(each["incarnation"]), each["at"], each["name"])
    Console().print(table)


@host.command("trust-power", epilog="Example: renova host trust-power compute7")
def trust_power(name: Name, as_json: Json = False) -> None:
    """Believe readings of a host's power again, after they were once contradicted by the host itself."""
    _show_host(_client().trust_power(name), as_json)


@host.command("join-token", epilog="Example: renova host join-token --count 3 --hours 24")
def make_join_token(
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many; each is good for one host.")] = 1,
    hours: Annotated[float, typer.Option(min=0.01, help="How long they are good for.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Make tokens with which new hosts join: each is the content of an agent's join_token_file."""
    tokens = _client().join_tokens(count, hours)
    sys.stdout.write(msgspec.json.encode(tokens).decode() + "\n" if as_json else "\n".join(tokens) + "\n")


@database.command("restored", epilog="Example: renova database restored")
def restored(as_json: Json = False) -> None:
    """Go on with this database: a new era begins, on hold until every host has said what it runs."""
    _show_status(_client().begin_era(), as_json)


@database.command("keep", epilog="Example: renova database keep 0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1 compute7")
def keep(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="The server's id.")], name: Name, as_json: Json = False
) -> None:
    """Have a server that was found running on several hosts go on at this one; the others remove it."""
    _show_status(_client().choose(server, name), as_json)


def duties(as_json: Json = False) -> None:
    """List what controllers look over now and then: what was found the last time, who did it, and who does it now."""
    _show_rounds(_client().duties(), as_json=as_json)


@duty.command("run", epilog="Example: renova duty run allocations")
def run_duty(
    name: Annotated[str, typer.Argument(help="Which; renova duties lists them.")], as_json: Json = False
) -> None:
    """Have the controller look over it now, and show what it found."""
    _show_rounds([_client().do_duty(name)], as_json=as_json)


def _show_rounds(rounds: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        _print_json(rounds)
        return
    name = Column("Duty", no_wrap=True)  # however narrow the window: it is what `renova duty run` takes
    heads = ("Every", "Last", "By", "Took", "Looked at", "Mended", "Failed", "Now at")
    table = Table(name, *(Column(head, overflow="fold") for head in heads))
    for each in rounds:
        every = f"{each['every_s']:g} s" if each["every_s"] else "on demand"
        took = f"{each['took_s']:.1f} s" if each["began_at"] else ""
        counts = [str(each[name]) if each["began_at"] else "" for name in ("looked", "mended", "failed")]
        last = ((each["began_at"] or "")[:19], each["done_by"] or "", took)
        table.add_row(each["name"], every, *last, *counts, each["doing"] or "")
    Console().print(table)
    for each in rounds:
        if each["error"]:
            sys.stdout.write(f"{each['name']}: not finished: {each['error']}\n")
        for finding in each["findings"]:
            where = " ".join(part for part in (finding["host"], finding["server"]) if part)
            state = "mended" if finding["mended"] else "as it is"
            sys.stdout.write(f"{each['name']}: {where}: {finding['what']} ({state})\n")


def _show_status(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(found)
        return
    table = Table("Era", "On hold", "Since", "Waits for")
    contested = [f"{server}: runs on {' and '.join(hosts)}" for server, hosts in found["contested"].items()]
    waits = "\n".join([*found["waits_for"], *contested])
    table.add_row(str(found["era"]), found["hold"] or "no", found["held_at"] or "", waits)
    Console().print(table)
    table = Table("Controller", "API", "Agents", "Release", "Alive since", "Lease", "Does for all")
    for each in found["controllers"]:
        left = f"{each['lease_left_s']:.1f} s" if each["lease_left_s"] > 0 else "lapsed"
        agents = ", ".join(each["agents_addresses"])
        since, holds = each["started_at"][:19], ", ".join(each["holds"])
        table.add_row(each["name"], each["api_address"], agents, each["release"], since, left, holds)
    Console().print(table)
    if found["waiting"]:
        table = Table("Server", "Action", "Since", "Waits")
        for each in found["waiting"]:
            table.add_row(each["server"], each["action"], each["since"][:19], each["message"])
        Console().print(table)
    database = found["database"]
    table = Table("Database", "Primary", "Timeline", "Replication", "Standbys")
    how = "" if database["kind"] == "SQLite" else "synchronous" if database["synchronous"] else "not synchronous"
    standbys = ", ".join(database["standbys"])
    table.add_row(database["kind"], database["primary"] or "", database["timeline"] or "", how, standbys)
    Console().print(table)
    if database["trouble"]:
        sys.stdout.write(f"{database['kind']}: {database['trouble']}.\n")


def _show_host(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(found)
        return
    table = Table(show_header=False)
    for field, value in found.items():
        if field in ("owes", "proofs", "proof"):
            continue
        table.add_row(field, "" if value is None else str(value))
    for debt in found["owes"]:
        trouble = f": {debt['trouble']}" if debt["trouble"] else ""
        table.add_row("has yet to clean up", f"{debt['server']} below incarnation {debt['below']}{trouble}")
    Console().print(table)
    if found.get("proofs"):
        _print_proofs(found["proofs"])


def _print_proofs(found: list[dict[str, Any]]) -> None:
    table = Table("Host", "Written", "Kind", "Epoch", "Who", "Says", "Withdrawn")
    for each in found:
        values = (each["host"], each["created_at"], each["kind"], each["epoch"], each["who"], each["says"])
        table.add_row(*(str(value) for value in values), each["withdrawn"] or "")
    Console().print(table)


def _print_json(found: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")


def _client() -> "HostsClient":
    try:
        from renova.cli.hosts import HostsClient
        from renova.cli.session import connect
    except ModuleNotFoundError as error:
        raise BadSetup(f"This command needs the OpenStack clients ({error}): pip install 'renova[lab]'.") from error
    return HostsClient(connect())
