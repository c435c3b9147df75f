"""`renova recoveries`: what became of servers whose hosts died, how long it took, and what it rested on."""

from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

from renova.main.operator_commands import Json, client_of_cloud, print_json

recoveries = typer.Typer(
    help="Servers whose hosts died: where each stands, how long each stage took, by which proof. Uses OS_* variables.",
    epilog="Example: renova recoveries list --state failed",
    invoke_without_command=True,
)

STAGES = {
    "detect": "until its silence was suspicious",
    "prove": "until its death was proven",
    "plan": "until the server had its place in the plan",
    "start": "until its new host was commanded",
    "up": "until it was up there",
}


State: TypeAlias = Annotated[str | None, typer.Option(help="Only those that stand so.")]
OfHost: TypeAlias = Annotated[str | None, typer.Option(help="Only those of this host's servers.")]
OfServer: TypeAlias = Annotated[str | None, typer.Option(help="Only those of the server of this id.")]


@recoveries.callback(epilog="Example: renova recoveries --state failed")
def list_by_default(
    context: typer.Context, state: State = None, host: OfHost = None, server: OfServer = None, as_json: Json = False
) -> None:
    """List recoveries of servers whose hosts died, or show one."""
    if context.invoked_subcommand is None:
        list_recoveries(state, host, server, as_json)
    elif (state, host, server, as_json) != (None, None, None, False):
        raise typer.BadParameter(f"say it after the command: renova recoveries {context.invoked_subcommand} ...")


@recoveries.command("list", epilog="Example: renova recoveries list --state failed --json")
def list_recoveries(state: State = None, host: OfHost = None, server: OfServer = None, as_json: Json = False) -> None:
    """List recoveries, the newest first."""
    only = {"state": state, "host": host, "server": server}
    found = client_of_cloud().recoveries(**{name: value for name, value in only.items() if value is not None})
    if as_json:
        print_json(found)
        return
    table = Table("", "Server", "From", "To", "State", "Proven", "Up after", "Said", "Why")
    for each in found:
        table.add_row(
            str(each["id"]),
            each["name"],
            each["host_name"],
            each["reached"] or each["target"] or "",
            each["state"],
            each["proven_at"][:19],
            _seconds(each["up_s"]),
            _seconds(each["predicted_up_s"]),
            each["reason"],
        )
    Console().print(table)


@recoveries.command("show", epilog="Example: renova recoveries show web")
def show_recovery(
    which: Annotated[str, typer.Argument(metavar="RECOVERY", help="Its number, or its server's id or name.")],
    as_json: Json = False,
) -> None:
    """Show one: its stages, beside what a rehearsal would have said, and the certificate that it rests on."""
    found = client_of_cloud().recovery(which)
    if as_json:
        print_json(found)
        return
    out = Console(highlight=False)
    table = Table(show_header=False)
    for field in ("server", "name", "host_name", "state", "reason", "target", "reached", "disks", "attempts"):
        table.add_row(field, str(found[field] or ""))
    for stage, what in STAGES.items():
        table.add_row(what, _seconds(found["stages"][stage]))
    table.add_row("from the death until it was up", _seconds(found["up_s"]))
    table.add_row("as a rehearsal would have said", _seconds(found["predicted_up_s"]))
    out.print(table)
    if found["certificate"] is not None:
        out.print(_certificate(found["certificate"]))


def _certificate(proof: dict[str, Any]) -> Table:
    table = Table(title="Certificate", show_header=False)
    for field in ("host", "kind", "says", "who", "created_at", "epoch", "withdrawn"):
        table.add_row(field, str(proof[field] or ""))
    for name, value in proof["readings"].items():
        table.add_row(f"read: {name}", value)
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
