"""Commands about this host's guard: `renova guard ...`. They are run on the host itself, as root, and ask nobody."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from renova.main.operator_commands import Json, print_json

if TYPE_CHECKING:
    from renova.drivers.guard.closing import Closing
    from renova.drivers.guard.enclosure import Enclosure
    from renova.guard.last_place import LastPlace
    from renova.settings import AgentSettings

guard = typer.Typer(
    help="Run this host's guard: it renews the host's lease, whatever becomes of the agent, and stops the guests where "
    "it ends. The commands look at what it rests on. All are run on the host, as root.",
    epilog="Example: renova guard --config /etc/renova/agent.toml",
)

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The agent's settings; RENOVA_<NAME> overrides them.")
]


@guard.callback(invoke_without_command=True)
def run(context: typer.Context, config: Config = None) -> None:
    if context.invoked_subcommand is not None:
        if config is not None:
            raise typer.BadParameter(
                f"say it after the command: renova guard {context.invoked_subcommand} --config ..."
            )
        return
    _settings(config)  # says what is wrong before it becomes the guard itself
    # Nothing of this command line stays in the memory of what has to meet a deadline.
    argv = [sys.executable, "-m", "renova.main.guard_process", *([str(config)] if config else [])]
    os.execv(sys.executable, argv)  # noqa: S606  (no shell is wanted)


@guard.command("test", epilog="Example: renova guard test --config /etc/renova/agent.toml --json")
def try_out(config: Config = None, as_json: Json = False) -> None:
    """Try out what the guard rests on, and say of which class it is, and why. Guests and watchdog are left alone.

    A gate is made beside the host's own, and closed over a process that is made for it. Exit status 1 when anything
    that was to be seen was not.
    """
    found = asyncio.run(_tried(_settings(config)))
    if as_json:
        print_json(found)
    else:
        _show(found)
    if not found["works"]:
        raise typer.Exit(1)


@guard.command("close-gate", epilog="Example: renova guard close-gate --config /etc/renova/agent.toml")
def close_gate(
    config: Config = None,
    if_armed: Annotated[bool, typer.Option("--if-armed", help="Leave the guests of an unarmed host alone.")] = False,
) -> None:
    """Have this host's guests stand still, or dead where that cannot be seen; for who finds that the guard has ended.

    The next guard opens the gate when it has a lease. Where the settings are broken, it is the gate that the last armed
    guard had. Exit status 1 when some neither stand still nor die.
    """
    from renova import log
    from renova.drivers.guard.closing import Closing
    from renova.guard.last_place import LastPlace

    log.set_up(process="guard")
    ended, trouble = asyncio.run(closed(config, LastPlace(), if_armed=if_armed))
    # Only now: what cannot be said keeps no gate open.
    if trouble:
        typer.echo(trouble, err=True)
    if ended is None:
        typer.echo("This host is not armed: its gate is left alone.")
        return
    typer.echo(f"{ended}.", err=ended is Closing.STUCK)
    if ended is Closing.STUCK:
        raise typer.Exit(1)


async def closed(config: Path | None, last_place: "LastPlace", *, if_armed: bool) -> "tuple[Closing | None, str]":
    """Close this host's gate. Return how that ended, None for a host that is not armed; and what is wrong, if anything.

    Settings that are broken keep no gate open: it is where the last armed guard had it. `BadSetup` if there was none.
    """
    from renova.drivers.guard.closing import close_or_kill
    from renova.drivers.guard.host_gate import HostGate
    from renova.drivers.guard.place import enclosure_at
    from renova.guard.armed_mark import ArmedMark
    from renova.model.clock import SystemClock
    from renova.model.errors import BadSetup

    trouble = ""
    try:
        settings = _settings(config)
        enclosure, state = _enclosure(settings), settings.state_dir
    except BadSetup as error:
        place = last_place.read()
        if place is None:
            raise
        enclosure, state = enclosure_at(Path(place.gate)), place.state_dir
        trouble = f"{error} So it is about the gate that this host's last armed guard had: {place.gate}."
    # Not by the settings: where an arming failed, guests go on, and nobody counts on their standing still.
    if if_armed and not ArmedMark(Path(state)).may_be_set():
        return None, trouble
    clock = SystemClock()
    return await close_or_kill(HostGate(enclosure, clock), clock), trouble


async def _tried(settings: "AgentSettings") -> dict[str, Any]:
    from renova.drivers.guard.hardening import harden
    from renova.drivers.guard.strength import strength_of
    from renova.drivers.guard.trial import guests_outside, try_gate
    from renova.drivers.guard.watchdog import USUAL, facts_of
    from renova.model.clock import SystemClock

    enclosure = _enclosure(settings)
    stages = await try_gate(enclosure.path, SystemClock())
    facts = facts_of(USUAL, Path(settings.state_dir), weak_gate=enclosure.weakness)
    strength = strength_of(facts)
    outside = guests_outside(enclosure)
    return {
        "works": all(stage.seen for stage in stages),
        "class": strength.guard.value,
        "reasons": list(strength.reasons),
        "watchdog": facts.watchdog or "none",
        "sleep": facts.sleeps,
        "gate": str(enclosure.path),
        "held_by": enclosure.holds_by,
        "closed": enclosure.exists() and enclosure.is_frozen(),
        "stages": [{"name": each.name, "seen": each.seen, "seconds": round(each.seconds, 4)} for each in stages],
        "hardening": [{"name": each.name, "refused": each.refused} for each in harden()],
        "guests_outside": outside,
    }


def _show(found: dict[str, Any]) -> None:
    typer.echo(f"Class {found['class']}: {'; '.join(found['reasons'])}.")
    typer.echo(f"Gate: {found['gate']}, {'closed' if found['closed'] else 'open'}; held by {found['held_by']}.")
    for stage in found["stages"]:
        typer.echo(f"  {stage['name']:32} {'yes' if stage['seen'] else 'NO':3} {stage['seconds'] * 1000:6.0f} ms")
    typer.echo(f"Watchdog: {found['watchdog']}. Sleep: {found['sleep'] or 'it cannot be put to sleep'}.")
    for measure in found["hardening"]:
        typer.echo(f"  {measure['name']:32} {'no: ' + measure['refused'] if measure['refused'] else 'yes'}")
    if found["guests_outside"]:
        pids = ", ".join(map(str, found["guests_outside"]))
        typer.echo(f"Outside the gate, and not held by it: QEMU {pids}. Restart the agent: it puts its guests in.")


def _settings(config: Path | None) -> "AgentSettings":
    from renova.settings import AgentSettings, load

    return load(AgentSettings, config)


def _enclosure(settings: "AgentSettings") -> "Enclosure":
    from renova.drivers.guard.place import enclosure_at, usual_place

    return enclosure_at(Path(settings.gate) if settings.gate else usual_place())
