"""Commands about the witness as this host reaches it: `renova witness ...`. Run on the host itself, they ask nobody."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from renova.main.operator_commands import Json, print_json

if TYPE_CHECKING:
    from renova.settings import AgentSettings

witness = typer.Typer(
    help="Read the witness for this host's guard: the directory where controllers show which leases they have revoked. "
    "An armed host that has one goes on while controllers or database are away.",
    epilog="Example: renova witness --config /etc/renova/agent.toml",
)

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The agent's settings; RENOVA_<NAME> overrides them.")
]


@witness.callback(invoke_without_command=True)
def run(context: typer.Context, config: Config = None) -> None:
    if context.invoked_subcommand is not None:
        if config is not None:
            said = f"say it after the command: renova witness {context.invoked_subcommand} --config ..."
            raise typer.BadParameter(said)
        return
    _settings(config)  # says what is wrong before it becomes the reader itself
    argv = [sys.executable, "-m", "renova.main.witness_process", *([str(config)] if config else [])]
    os.execv(sys.executable, argv)  # noqa: S606  (no shell is wanted)


@witness.command("show", epilog="Example: renova witness show --config /etc/renova/agent.toml --json")
def show(config: Config = None, as_json: Json = False) -> None:
    """Read what the witness shows of this host's lease, as its guard has it read.

    Exit status 1 when it cannot be read, or shows a revocation.
    """
    found = asyncio.run(_read(_settings(config)))
    if as_json:
        print_json(found)
    else:
        typer.echo(_says(found))
    if found["trouble"] is not None or found["revoked"]:
        raise typer.Exit(1)


async def _read(settings: "AgentSettings") -> dict[str, Any]:
    from renova.guard.page import FilePage
    from renova.model.errors import BadSetup, NotNow
    from renova.uplink.identity import read_identity
    from renova.witness import LeaseName
    from renova.witness.directory import WitnessDirectory

    if not settings.witness:
        raise BadSetup("This host has no witness: the agent's settings name no directory. Name their file by --config.")
    state = Path(settings.state_dir)
    identity = read_identity(state) if state.is_dir() else None
    if identity is None:
        raise BadSetup(
            f"This host is not enrolled: there is no identity in {state}. Start its agent, or name its settings by "
            "--config."
        )
    page = await FilePage(state).read()
    found = {"witness": settings.witness, "era": page.era, "epoch": page.epoch}
    began = time.monotonic()
    try:
        shown = await WitnessDirectory(Path(settings.witness)).read(LeaseName(identity.host, page.era, page.epoch))
    except NotNow as error:
        return found | {"revoked": None, "seconds": None, "trouble": str(error)}
    return found | {"revoked": shown.revoked, "seconds": round(time.monotonic() - began, 4), "trouble": None}


def _says(found: dict[str, Any]) -> str:
    lease = f"the lease of epoch {found['epoch']} in era {found['era']}"
    if found["trouble"] is not None:
        return f"The witness says nothing of {lease}: {found['trouble']}."
    shows = f"{lease} IS REVOKED" if found["revoked"] else f"nobody has revoked {lease}"
    return f"The witness {found['witness']} shows that {shows}; read in {found['seconds'] * 1000:.0f} ms."


def _settings(config: Path | None) -> "AgentSettings":
    from renova.settings import AgentSettings, load

    return load(AgentSettings, config)
