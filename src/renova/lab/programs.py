"""How this package's own programs are started by the lab: with this Python, from this checkout, with plain settings."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from renova.model.errors import BadSetup


def renova_argv(*arguments: str | Path) -> list[str]:
    """Say how to run a command of `renova`."""
    return [sys.executable, "-m", "renova.main", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return our environment without settings for Renova's processes: they have files, which alone count."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RENOVA_", "OS_"))}


def write_settings(file: Path, values: Mapping[str, object]) -> None:
    """Write a settings file (TOML), whole or not at all, readable by its owner only."""
    new = file.with_name(file.name + ".new")
    new.touch(mode=0o600)
    new.write_text(settings_text(values))
    new.replace(file)


def settings_text(values: Mapping[str, object]) -> str:
    """Return settings as TOML: strings, numbers, lists of strings, and tables of these at the end."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    lines = [f"{name} = {_literal(value)}" for name, value in plain.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_literal(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _literal(value: object) -> str:
    # What JSON and TOML write alike, with one exception: JSON leaves DEL as it is.
    if not isinstance(value, str | int | float | list | tuple) or "\x7f" in str(value):
        raise BadSetup(f"{value!r} cannot be written into a settings file")
    return json.dumps(value)
