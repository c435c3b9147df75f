"""The field's own command-line clients, unmodified, run in this process by their own entry points."""

import io
import json
import logging
import os
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any
from unittest import mock

# What other people's clients warn of when they are imported is not ours to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from novaclient import exceptions as nova_errors
    from novaclient.shell import OpenStackComputeShell
    from openstackclient import shell as openstack_shell
    from osc_lib.clientmanager import ClientCache, ClientManager


class Failed(Exception):
    """A command did not do what it was told; what it wrote to its standard error."""


class OpenStack:
    """The command `openstack` of one user. Arguments are written as in a shell."""

    def __init__(self, environment: Mapping[str, str], *options: str) -> None:
        self._environment = environment
        self._options = options

    def at(self, version: str) -> "OpenStack":
        """Return the command at a microversion of the Compute API."""
        return OpenStack(self._environment, "--os-compute-api-version", version)

    def __call__(self, line: str) -> str:
        """Run a command, which must succeed; return what it prints."""
        argv = [*self._options, *shlex.split(line)]
        return _run(self._environment, line, lambda: openstack_shell.main(argv))

    def show(self, line: str) -> Any:
        """Run a command, which must succeed; return what it shows."""
        printed = self(f"{line} -f json")
        # Some that wait say "Complete" first.
        return json.loads(printed.removeprefix("Complete\n"))

    def column(self, line: str, name: str) -> list[Any]:
        """Run a command that lists, and return one of its columns."""
        return [row[name] for row in self.show(line)]

    def refused(self, line: str) -> str:
        """Run a command, which must fail; return its complaint."""
        return _complaint(lambda: self(line), line)


class Nova:
    """The command `nova` of one user, at a microversion ("": the newest that client and cloud know)."""

    def __init__(self, environment: Mapping[str, str], version: str = "") -> None:
        self.version = version
        self._environment = environment

    def at(self, version: str) -> "Nova":
        return Nova(self._environment, version)

    def __call__(self, line: str) -> str:
        """Run a command, which must succeed; return what it prints."""
        options = ["--os-compute-api-version", self.version] if self.version else []
        argv = [*options, *shlex.split(line)]
        return _run(self._environment, line, lambda: OpenStackComputeShell().main(argv))

    def rows(self, line: str) -> list[dict[str, str]]:
        """Run a command that prints a table; return its rows by their columns (of the last table, if it has more)."""
        return _last_table(self(line))

    def column(self, line: str, name: str) -> list[str]:
        return [row[name] for row in self.rows(line)]

    def properties(self, line: str) -> dict[str, str]:
        """Run a command that prints properties and their values; return these."""
        return {row["Property"]: row["Value"] for row in self.rows(line)}

    def refused(self, line: str) -> str:
        """Run a command, which must fail; return its complaint."""
        return _complaint(lambda: self(line), line)


def _last_table(printed: str) -> list[dict[str, str]]:
    """Read a table, which has a rule above its heading, below it, and at its end."""
    rules, heading, rows = 0, [""], list[list[str]]()
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if line.startswith("+"):
            rules += 1
        elif line.startswith("|") and rules % 3 == 1:
            heading, rows = cells, []
        elif line.startswith("|"):
            rows.append(cells)
    return [dict(zip(heading, row, strict=True)) for row in rows]


def _run(environment: Mapping[str, str], line: str, main: Callable[[], Any]) -> str:
    printed, complained = io.StringIO(), io.StringIO()
    with alone(environment), redirect_stdout(printed), redirect_stderr(complained):
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        except (nova_errors.ClientException, nova_errors.CommandError) as error:
            status, complained = 1, io.StringIO(str(error))
    if status:
        raise Failed(f"{line}: {complained.getvalue()}")
    return printed.getvalue()


def _complaint(run: Callable[[], str], line: str) -> str:
    try:
        printed = run()
    except Failed as failed:
        return str(failed)
    raise AssertionError(f"{line} was not refused: {printed}")


@contextmanager
def alone(environment: Mapping[str, str]) -> Iterator[None]:
    """Undo what a client changes of its process: it is made for one command a process."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with warnings.catch_warnings(), mock.patch.dict(os.environ, environment, clear=True):
        logging.disable(logging.DEBUG)  # each request with its answer, else in the report of a test that fails
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
            root.setLevel(level)
            for handler in [each for each in root.handlers if each not in handlers]:
                root.removeHandler(handler)
            for cached in vars(ClientManager).values():
                if isinstance(cached, ClientCache):
                    cached._handle = None  # else the next command would go on as this one's user
