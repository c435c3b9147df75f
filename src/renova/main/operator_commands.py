"""Commands for those who run a cloud: `renova status`, `proofs`, `rehearse`, `duties`, `host ...`, `database ...`.

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
brake = typer.Typer(
    help="What keeps too many hosts from being taken for dead at once. Uses OS_* variables.",
    epilog="Example: renova brake release",
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
    _show_status(client_of_cloud().status(), as_json)


def proofs(as_json: Json = False) -> None:
    """List the proofs of hosts' deaths, the newest first, and how far each can be relied on."""
    found = client_of_cloud().proofs()
    if as_json:
        print_json(found)
    else:
        _print_proofs(found)


def rehearse(
    names: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="The hosts that die.")] = None,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="All hosts of this availability zone die.")] = None,
    failures: Annotated[
        int | None, typer.Option("--any", min=1, max=10, metavar="N", help="Whether any N hosts may die at once.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=1, max=600, metavar="S", help="How long --any may look.")] = 30,
    as_json: Json = False,
) -> None:
    """Say what would become of servers if hosts died now: where each goes, when, and what is lost. Changes nothing.

    Ends with 1 where a server would find no place, or where that could not be found out.
    """
    if sum((bool(names), zone is not None, failures is not None)) != 1:
        raise typer.BadParameter("Name hosts, or a zone by --zone, or a number by --any: one of the three.")
    if failures is not None:
        found = client_of_cloud().survival(failures, seconds)
        good = found["survived"] is True
    else:
        found = client_of_cloud().rehearsal(names or (), zone)
        good = not found["summary"]["unplaceable"]
    if as_json:
        print_json(found)
    elif failures is not None:
        _print_survival(found)
    else:
        _print_rehearsal(found)
    raise typer.Exit(0 if good else 1)


@host.command("list", epilog="Example: renova host list --json")
def list_hosts(as_json: Json = False) -> None:
    """List hosts: where each stands with the control plane, and why."""
    found = sorted(client_of_cloud().hosts(), key=lambda each: str(each["name"]))
    if as_json:
        print_json(found)
        return
    table = Table("Name", "State", "Up", "Address", "Guests by", "Silent", "Proof of death")
    for each in found:
        silent = "" if each["silent_s"] is None else f"{each['silent_s']:.1f} s"
        proof = each["proof"]["kind"] if each["proof"] else ""
        up = "yes" if each["up"] else "no"
        table.add_row(each["name"], each["standing"], up, each["address"], each["accelerator"], silent, proof)
    Console().print(table)


@host.command("show", epilog="Example: renova host show compute7")
def show_host(name: Name, as_json: Json = False) -> None:
    """Show all there is to know of a host: who disabled it, what it has yet to clean up, every proof."""
    _show_host(client_of_cloud().host(name), as_json)


@host.command("remove", epilog="Example: renova host remove storage2")
def remove(name: Name) -> None:
    """Remove a storage host that holds nothing any more. A compute host goes with its compute service."""
    client_of_cloud().remove(name)


@host.command("vouch", epilog="Example: renova host vouch compute7")
def vouch(
    name: Name,
    now: Annotated[bool, typer.Option("--now", help="Do not wait until its lease has lapsed.")] = False,
    as_json: Json = False,
) -> None:
    """Give your word that a host is off, so that its servers may go elsewhere. Nobody verifies it."""
    _show_host(client_of_cloud().vouch(name, now), as_json)


@host.command("clean", epilog="Example: renova host clean compute7 --wait 60")
def clean(
    name: Name,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until it is done.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Have a host that runs clean up servers that live elsewhere; says what is left, and what is in the way."""
    client = client_of_cloud()
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
    found = client_of_cloud().asides(name)
    if as_json:
        print_json(found)
        return
    table = Table("Server", "Incarnation", "Set aside", "Directory")
    for each in found:
        table.add_row(each["server"], str(each["incarnation"]), each["at"], each["name"])
    Console().print(table)


@host.command("trust-power", epilog="Example: renova host trust-power compute7")
def trust_power(name: Name, as_json: Json = False) -> None:
    """Believe readings of a host's power again, after they were once contradicted by the host itself."""
    _show_host(client_of_cloud().trust_power(name), as_json)


@host.command("join-token", epilog="Example: renova host join-token --count 3 --hours 24")
def make_join_token(
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many; each is good for one host.")] = 1,
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="How long they are good for.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Make tokens with which new hosts join: each is the content of an agent's join_token_file."""
    from renova.wire.enrolment import decode_join_token

    tokens = client_of_cloud().join_tokens(count, hours)
    reached_at = decode_join_token(tokens[0]).controllers
    if all(_is_this_machine(address) for address in reached_at):
        sys.stderr.write(
            f"These tokens are good on the controller's own machine only: they say {', '.join(reached_at)}. For other "
            "hosts, set agents_address and agents_names in the controller's settings, and make new ones.\n"
        )
    sys.stdout.write(msgspec.json.encode(tokens).decode() + "\n" if as_json else "\n".join(tokens) + "\n")


def _is_this_machine(address: str) -> bool:
    return address.rpartition(":")[0].startswith(("127.", "localhost"))


@database.command("restored", epilog="Example: renova database restored")
def restored(as_json: Json = False) -> None:
    """Go on with this database: a new era begins, on hold until every host has said what it runs."""
    _show_status(client_of_cloud().begin_era(), as_json)


@database.command("keep", epilog="Example: renova database keep 0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1 compute7")
def keep(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="The server's id.")], name: Name, as_json: Json = False
) -> None:
    """Have a server that was found running on several hosts go on at this one; the others remove it."""
    _show_status(client_of_cloud().choose(server, name), as_json)


@database.command("dismiss", epilog="Example: renova database dismiss compute7")
def dismiss(
    which: Annotated[str, typer.Argument(metavar="HOST", help="Its name, or its id.")], as_json: Json = False
) -> None:
    """Wait no longer for a host that this database does not know: you have seen that it runs nothing of this cloud."""
    _show_status(client_of_cloud().dismiss(which), as_json)


@brake.command("release", epilog="Example: renova brake release")
def release_brake(as_json: Json = False) -> None:
    """Say that the silent hosts are really dead, and not the controllers cut off: they are taken for dead again."""
    _show_status(client_of_cloud().release_brake(), as_json)


def duties(as_json: Json = False) -> None:
    """List what controllers look over now and then: what was found the last time, who did it, and who does it now."""
    _show_rounds(client_of_cloud().duties(), as_json=as_json)


@duty.command("run", epilog="Example: renova duty run allocations")
def run_duty(
    name: Annotated[str, typer.Argument(help="Which; renova duties lists them.")], as_json: Json = False
) -> None:
    """Have the controller look over it now, and show what it found."""
    _show_rounds([client_of_cloud().do_duty(name)], as_json=as_json)


def _show_rounds(rounds: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rounds)
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
        print_json(found)
        return
    table = Table("Era", "On hold", "Since", "Waits for")
    contested = [f"{server}: runs on {' and '.join(hosts)}" for server, hosts in found["contested"].items()]
    waits = "\n".join([*found["waits_for"], *contested])
    table.add_row(str(found["era"]), found["hold"] or "no", found["held_at"] or "", waits)
    Console().print(table)
    for each in found.get("strangers", ()):
        sys.stdout.write(
            f"{each['name']} knocks with a certificate of this cloud, and is not known to this database. If it joined "
            "after the backup, it may run servers that are shown elsewhere: let it join again. Only if you have seen "
            f"that it runs nothing of this cloud, as one that was removed: renova database dismiss {each['id']}\n"
        )
    if found["brake"]:
        sys.stdout.write(
            f"THE BRAKE IS ON since {found['braked_at'][:19]}: {found['brake']}. No host is taken for dead, nor "
            "switched off, by itself. See that it is the hosts that are dead, then: renova brake release\n"
        )
    table = Table("Controller", "API", "Agents", "Release", "Alive since", "Lease", "Does for all")
    for each in found["controllers"]:
        left = f"{each['lease_left_s']:.1f} s" if each["lease_left_s"] > 0 else "lapsed"
        agents = ", ".join(each["agents_addresses"])
        since, holds = each["started_at"][:19], ", ".join(each["holds"])
        table.add_row(each["name"], each["api_address"], agents, each["release"], since, left, holds)
    Console().print(table)
    if found["silent"]:
        names = ", ".join(f"{each['host']} ({each['standing']}, {each['silent_s']:.0f} s)" for each in found["silent"])
        sys.stdout.write(f"Not heard: {names}. What would prove each dead: renova host show HOST\n")
    if unsettled := {state: found["recoveries"].get(state, 0) for state in ("waiting", "moving", "failed")}:
        told = ", ".join(f"{count} {state}" for state, count in unsettled.items() if count)
        if told:
            sys.stdout.write(f"Recoveries: {told}. See: renova recoveries\n")
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
        print_json(found)
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


def _print_rehearsal(found: dict[str, Any]) -> None:
    out = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table("", "Server", "From", "To", "Wave", "Up after", "Local disks", "Why")
    for nth, step in enumerate(found["steps"], 1):
        placed = step["target"] is not None
        disks = {"kept": "kept", "lost": f"LOST: {', '.join(step['local_disks'])}"}.get(step["disks"] or "", "")
        table.add_row(
            str(nth),
            f"{step['name']} ({step['server']})",
            step["source"],
            step["target"] if placed else step["outcome"],
            str(step["wave"] or ""),
            f"{step['done_s']:.0f} s" if placed else "",
            disks,
            "; ".join([*([step["reason"]] if step["reason"] else []), *step["notes"]]),
        )
    out.print(table)
    total = found["summary"]
    ended = f", the last after {total['all_done_s']:.0f} s" if total["all_done_s"] is not None else ""
    names = ", ".join(found["hosts"])
    out.print(
        f"If {names} died now: {total['placed']} of {total['servers']} servers go elsewhere{ended}. "
        f"Without a place: {total['unplaceable']}; left: {total['left']}; stopped: {total['stopped']}; "
        f"with local disks that are lost: {total['disks_lost']}.",
        soft_wrap=True,
    )
    if found["dead_already"]:
        out.print(f"Dead already, and counted in: {', '.join(found['dead_already'])}.", soft_wrap=True)
    if found.get("cut_off_already"):
        out.print(
            f"Cut off from volumes already, and counted in: {', '.join(found['cut_off_already'])}.", soft_wrap=True
        )
    for circle in found["circles"]:
        out.print(f"These wait for each other, so none of them waits: {', '.join(circle)}.", soft_wrap=True)


def _print_survival(found: dict[str, Any]) -> None:
    out = Console(highlight=False)
    many = "host" if found["failures"] == 1 else "hosts"
    looked = f"{found['of']} failures: {found['proven']} proven to be harmless, {found['planned']} planned"
    if found["survived"] is None:
        out.print(f"Not known whether any {found['failures']} {many} may die: {looked}.", soft_wrap=True)
    elif found["survived"]:
        out.print(f"Any {found['failures']} {many} may die, and every server finds a place ({looked}).", soft_wrap=True)
    else:
        names = " and ".join(found["hosts"])
        out.print(
            f"Not survived: if {names} died now, {found['name']} ({found['server']}) would find no place: "
            f"{found['reason']}",
            soft_wrap=True,
        )


def print_json(found: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")


def client_of_cloud() -> "HostsClient":
    """Speak to the cloud of the environment. `BadSetup` where there is none."""
    try:
        from renova.cli.hosts import HostsClient
        from renova.cli.session import connect
    except ModuleNotFoundError as error:
        raise BadSetup(f"This command needs the OpenStack clients ({error}): run script/bootstrap.") from error
    return HostsClient(connect())
