"""`renova host drain`: empties a host at which somebody is to work, and says how far it is."""

import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from renova.main.operator_commands import Json, Name, client_of_cloud, print_json

LOOK_S = 1.0  # between looks at how far it is


def drain(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Have the host used again; nothing comes back.")] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Shown with the disabled host.")] = None,
    wait: Annotated[bool, typer.Option(help="Show the progress until the host is empty.")] = True,
    as_json: Json = False,
) -> None:
    """Have a host's servers moved elsewhere, and have it left alone while you work there.

    Nothing new is put there, nobody switches it off, and while it is away its servers are not recovered. Interrupting
    this ends nothing; asking again shows how far it is. Ends with 1 where servers stay that only you can do something
    about.
    """
    client = client_of_cloud()
    if undo:
        client.undo_drain(name)
        sys.stdout.write(f"{name} is used again.\n")
        return
    found = client.drain(name, reason)
    told = ""
    while wait and found["state"] == "draining":
        if not as_json and (line := progress_line(found)) != told:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            told = line
        time.sleep(LOOK_S)
        found = client.drained(name)
    if as_json:
        print_json(found)
    else:
        sys.stdout.write(f"{progress_line(found)}\n")
        _print_those_left(found)
    raise typer.Exit(1 if found["state"] == "held up" else 0)


def progress_line(found: dict[str, Any]) -> str:
    """Return how far a host is, as the API tells it, in a line: how many moved, move, wait and stay, and what moves."""
    counts = {stage: len(found[stage]) for stage in ("moving", "waiting", "staying")}
    told = ", ".join(f"{count} {stage}" for stage, count in counts.items() if count)
    copied = [f"{each['name']} {each['copied']:.0%}" for each in found["moving"] if each["copied"] is not None]
    told += f" ({', '.join(copied)} of memory copied)" if copied else ""
    silent = "" if found["heard"] else "; it is not heard: nothing leaves it, nor is it recovered until --undo"
    return f"{found['host']}: {found['state']}, {found['moved']} moved{', ' if told else ''}{told}{silent}"


def _print_those_left(found: dict[str, Any]) -> None:
    table = Table("Server", "Name", "Stands", "Leaves", "To", "Tried", "Why")
    for stage in ("moving", "waiting", "staying"):
        for each in found[stage]:
            tried = str(each["attempts"] or "")
            way = "live" if each["live"] else "cold"
            table.add_row(each["server"], each["name"], stage, way, each["destination"] or "", tried, each["reason"])
    if table.rows:
        Console().print(table)
