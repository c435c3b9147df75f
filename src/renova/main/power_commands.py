"""Commands about the power of hosts: `renova host power ...`. They speak Renova's own API, as an administrator."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from renova.main.operator_commands import Json, Name, client_of_cloud, print_json
from renova.model.errors import BadSetup

power = typer.Typer(
    help="What switches a host's power: wire it, test it, rehearse it, use it. Uses OS_* variables.",
    epilog="Example: renova host power show compute7",
    no_args_is_help=True,
)

File = Annotated[Path | None, typer.Option(metavar="FILE", help="Read the password from this file; -: standard input.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="What its kind needs; may be repeated.")
]
Secrets = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="A further secret, read from a file; may be repeated."),
]


@power.command(
    "set",
    epilog="Example: renova host power set compute7 redfish https://bmc7.example --user fencer --password-file bmc7",
)
def wire(
    name: Name,
    kind: Annotated[str, typer.Argument(metavar="redfish|fence_agent")],
    address: Annotated[str, typer.Argument(help="Of the BMC or power switch; for some agents none.")] = "",
    user: Annotated[str, typer.Option(help="Who signs in there.")] = "",
    password_file: File = None,
    option: Options = None,
    secret_file: Secrets = None,
    as_json: Json = False,
) -> None:
    """Have a host's power switched by this. It is read once, to see that it is this host's; nothing is switched."""
    secrets = {key: _content(Path(file)) for key, file in _pairs(secret_file or [], "--secret-file").items()}
    if password_file is not None:
        secrets["password"] = _content(password_file)
    elif user and "password" not in secrets:
        secrets["password"] = typer.prompt(f"Password of {user}", hide_input=True, err=True)
    wiring = {"kind": kind, "address": address, "username": user, "secrets": secrets}
    _show(client_of_cloud().wire_power(name, wiring | {"options": _pairs(option or [], "--option")}), as_json)


@power.command("show", epilog="Example: renova host power show compute7 --json")
def show(name: Name, as_json: Json = False) -> None:
    """Show what switches a host's power, and how far it can be relied on. Secrets are never shown."""
    _show(client_of_cloud().power(name), as_json)


@power.command("unset", epilog="Example: renova host power unset compute7")
def unwire(name: Name) -> None:
    """Have a host's power switched by nothing any more; its secrets are forgotten."""
    client_of_cloud().unwire_power(name)


@power.command("test", epilog="Example: renova host power test compute7 --rehearse")
def read(
    name: Name,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Switch it off and on, really: of a host that is disabled and empty.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a host's power, and whose it is, without switching it. Exit status 1 when it cannot be read."""
    client = client_of_cloud()
    if rehearse:
        _show(client.rehearse_power(name), as_json)
        return
    _show_reading(client.read_power(name), as_json)


@power.command("status", epilog="Example: renova host power status compute7")
def status(name: Name) -> None:
    """Print a host's power: on, off, or unknown."""
    sys.stdout.write(f"{client_of_cloud().read_power(name)['power']}\n")


@power.command("on", epilog="Example: renova host power on compute7")
def switch_on(name: Name, as_json: Json = False) -> None:
    """Switch a host's power on, and see that it is."""
    _show_reading(client_of_cloud().switch_power(name, "on"), as_json)


@power.command("off", epilog="Example: renova host power off compute7 --yes")
def switch_off(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Though the host is up: its guests die.")] = False,
    as_json: Json = False,
) -> None:
    """Cut a host's power, and see that it is off. Refused while the host is up."""
    if not yes:
        typer.confirm(f"Cut the power of host {name}?", abort=True, err=True)
    _show_reading(client_of_cloud().switch_power(name, "off", force), as_json)


@power.command("reseal", epilog="Example: renova host power reseal")
def reseal() -> None:
    """Encrypt the secrets of all power controllers anew, by the key that stands first in the file of keys."""
    sys.stdout.write(f"{client_of_cloud().reseal()} sealed anew\n")


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    table = Table(show_header=False)
    for field, value in found.items():
        if isinstance(value, dict):
            value = " ".join(f"{key}={each}" for key, each in value.items())  # noqa: PLW2901  (as it is shown)
        elif isinstance(value, list):
            value = ", ".join(value)  # noqa: PLW2901  (likewise)
        table.add_row(field, value or "")
    Console().print(table)


def _show_reading(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        system = f", system UUID {found['system']}" if found["system"] else ""
        why = f": {found['why']}" if found["why"] else ""
        sys.stdout.write(f"{found['power']}{system}{why}\n")
    if found["power"] == "unknown":
        raise typer.Exit(1)


def _pairs(given: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise BadSetup(f"{option} {text!r} is not of the form NAME=VALUE.")
        pairs[key] = value
    return pairs


def _content(file: Path) -> str:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, ValueError) as error:
        raise BadSetup(f"The secret in {file} cannot be read ({error}).") from error
    return text.rstrip("\r\n")
