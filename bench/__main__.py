"""`python -m bench`: what script/bench runs."""

import asyncio
import os
import platform
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.cloud import own_cloud
from bench.figures import Figure, Skipped, as_json, table
from bench.measures import MEASURES, Alone, OnCloud
from bench.session import Login
from bench.subject import Subject
from bench.tenant import make_tenant
from renova.model.errors import BadSetup, CloudError


class Bench:
    """One run: measures what was chosen, and keeps the figures."""

    def __init__(self, names: Sequence[str]) -> None:
        self.figures: list[Figure] = []
        self.skipped: list[Skipped] = []
        self.failed = False
        self._on_cloud = {name: it for name in names if isinstance(it := MEASURES[name], OnCloud)}
        self._alone = {name: it for name in names if isinstance(it := MEASURES[name], Alone)}
        self._console = Console(stderr=True)  # progress; the figures go to the standard output

    async def on_own_clouds(self, hosts: int) -> None:
        """Measure simulated clouds that are made for it and ended at the end."""
        if self._on_cloud:
            with own_cloud(hosts) as own:
                own.up()
                subject = Subject(await make_tenant(own.login, "bench"), own)
                for name, measure in self._on_cloud.items():
                    await self._note(name, partial(measure.run, subject))
                await subject.tenant.session.client.close()
        for name, alone in self._alone.items():
            await self._note(name, alone.run)

    async def against(self, login: Login) -> None:
        """Measure a cloud from outside, as a project that is made for it and deleted at the end."""
        tenant = await make_tenant(login, f"bench-{os.getpid()}")
        try:
            for name, measure in self._on_cloud.items():
                if not measure.own_only:
                    await self._note(name, partial(measure.run, Subject(tenant)))
        finally:
            await tenant.remove(login)
        for name in (*self._alone, *(name for name, measure in self._on_cloud.items() if measure.own_only)):
            self._skip(name, "needs a cloud of the bench's own")

    async def _note(self, name: str, run: Callable[[], Awaitable[list[Figure]]]) -> None:
        """Measure one thing; one that fails does not take the others' figures away."""
        began = time.perf_counter()
        try:
            self.figures += await run()
        except BadSetup as error:
            self._skip(name, str(error))
        except CloudError as error:
            self.failed = True
            self._skip(name, f"failed: {error}")
        self._console.print(f"{time.perf_counter() - began:6.1f} s  {name}", highlight=False)

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.append(Skipped(measure=name, reason=reason))


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help=f"Of {', '.join(MEASURES)}.")] = None,
    hosts: Annotated[int, typer.Option(min=2, max=1000, metavar="N", help="How many simulated hosts.")] = 20,
    as_json_text: Annotated[bool, typer.Option("--json", help="Print all samples as JSON.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="Measure the cloud of this identity URL, with OS_* credentials.")
    ] = None,
) -> None:
    """Measure a cloud over HTTP: what it does in how much time, and what its processes spend."""
    if unknown := [name for name in names or () if name not in MEASURES]:
        raise BadSetup(f"There is no measure {unknown[0]}; there are {', '.join(MEASURES)}.")
    bench = Bench(names or list(MEASURES))
    # As Ctrl-C does, which waits until a part that is being started can be ended: all that was started is.
    # Both end it, however it was started: a shell has what it runs in the background ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if against is None:
        asyncio.run(bench.on_own_clouds(hosts))
    else:
        asyncio.run(bench.against(Login.of(os.environ, against)))
    if as_json_text:
        sys.stdout.buffer.write(as_json(bench.figures, bench.skipped, _about(hosts, against)))
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(table(bench.figures))
        for each in bench.skipped:
            console.print(f"Not measured: {each.measure}: {each.reason}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if bench.failed else 0)


def _about(hosts: int, against: str | None) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "cloud": against or f"{hosts} simulated hosts",
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except BadSetup as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    except CloudError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
