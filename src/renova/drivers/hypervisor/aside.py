"""Disks that are set aside: what a server left on a host that it has left, kept for some days, then deleted.

    <instances>/_aside/<server>-<incarnation>-<time>/     the server's directory as it was
    <instances>/_aside/_base                              link to ../_base, where its overlays look for their images

A returning host may be wrong about what nobody needs any more; whoever misses something finds it here. All of it
blocks; `disks` calls it in threads.
"""

import contextlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from renova.durable import sync_directory
from renova.model.clock import stamp
from renova.model.guest import Aside
from renova.model.ids import ServerId

ASIDE = "_aside"
_TIME = "%Y%m%dT%H%M%S%fZ"
_ID = 36  # characters of a server's id


def put(instances: Path, at: Path, server: ServerId, incarnation: int, now: datetime) -> None:
    """Rename the server's directory `at` to where nobody uses it. After a crash it is at one place or the other."""
    beside = instances / ASIDE
    beside.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # Overlays name their image relative to themselves: ../_base/<sum>.
        (beside / "_base").symlink_to("../_base")
    at.rename(beside / f"{server}-{incarnation}-{now.astimezone(UTC).strftime(_TIME)}")
    sync_directory(beside)
    sync_directory(instances)


def found(instances: Path) -> list[Aside]:
    """List what was set aside, the oldest first; what bears another name is not ours to judge."""
    try:
        names = [path.name for path in (instances / ASIDE).iterdir()]
    except FileNotFoundError:
        return []
    return sorted((aside for name in names if (aside := _read(name)) is not None), key=lambda aside: aside.at)


def drop(instances: Path, now: datetime, older_than_s: float) -> list[Aside]:
    """Delete what was set aside longer ago than that, and return it."""
    before = stamp(now - timedelta(seconds=older_than_s))
    old = [aside for aside in found(instances) if aside.at < before]
    for aside in old:
        shutil.rmtree(instances / ASIDE / aside.name)
    return old


def _read(name: str) -> Aside | None:
    incarnation, _, at = name[_ID + 1 :].partition("-")
    try:
        since = datetime.strptime(at, _TIME).replace(tzinfo=UTC)
        return Aside(server=ServerId(name[:_ID]), incarnation=int(incarnation), at=stamp(since), name=name)
    except ValueError:
        return None
