"""Power by a program of the fence-agents collection, whichever is installed on the controllers.

Arguments go by standard input, as their API has it (`name=value` lines): a command line is for everybody to read. What
an agent says is believed only where it is said twice, by its exit status and in words: status 2 is "off", but also
how a shell or a parser of arguments complains.
"""

import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import partial

from renova.aside import Aside
from renova.model.errors import Invalid, NotNow
from renova.model.power import Reading, Said
from renova.power.program import Ended, run

READ_S = 15.0  # an agent begins as a program, and signs in anew each time
SWITCH_S = 40.0  # by their API they wait for the power to be as wanted, 20 s by default
DESCRIBE_S = 10.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OURS = frozenset({"action", "option", "nodename", "port_as_ip", "verbose", "verbose_level", "debug", "debug_file"})

_NAME = re.compile(r"fence_[a-z0-9_]{1,60}")
_PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SECRET = re.compile(r"pass|secret|token|api_?key", re.IGNORECASE)
_STATUS = re.compile(r"^Status: (ON|OFF)$", re.MULTILINE)


class FenceAgentSwitch:
    """One host's power, switched by an agent: `fence_ipmilan`, `fence_apc_snmp` and so on."""

    def __init__(
        self,
        address: str,
        username: str,
        options: Mapping[str, str],
        secrets: Mapping[str, str],
        aside: Aside,
        path: str = PATH,
    ) -> None:
        """`Invalid` says which part cannot be. The agent's own name is the option `agent`; it is sought in `path`."""
        self._agent = options.get("agent", "")
        if not _NAME.fullmatch(self._agent):
            raise Invalid("Option agent names the program, such as agent=fence_ipmilan.")
        given = {name: value for name, value in options.items() if name != "agent"} | dict(secrets)
        for name, value in (("ip", address), ("username", username)):
            if value:
                given[name] = value
        for name, value in given.items():
            if not _PARAMETER.fullmatch(name) or name in OURS:
                raise Invalid(f"{name!r} cannot be given to a fence agent.")
            if "\n" in value or "\r" in value or "\0" in value:
                raise Invalid(f"The value of {name} has a line's end in it.")
            if _SECRET.search(name) and name not in secrets and not name.endswith("_script"):
                raise Invalid(f"{name} is to be given as a secret: options are shown.")
        self._given = given
        self._secrets = [value for value in secrets.values() if value]
        self._aside = aside
        self._path = path

    async def read(self) -> Said:
        ended = await self._run("status", READ_S)
        found = _STATUS.findall(ended.output)
        if (ended.status, found) == (0, ["ON"]):
            return Said(Reading.ON)
        if (ended.status, found) == (2, ["OFF"]):
            return Said(Reading.OFF)
        return Said(Reading.UNKNOWN, why=self._complaint("status", ended))

    async def switch_off(self) -> None:
        await self._switch("off")

    async def switch_on(self) -> None:
        await self._switch("on")

    async def _switch(self, action: str) -> None:
        ended = await self._run(action, SWITCH_S)
        if ended.status != 0:
            raise NotNow(self._complaint(action, ended))

    async def check(self) -> None:
        """Ask the agent what it takes. `Invalid` where it is none that switches power, or what was given is unknown."""
        ended = await self._run("metadata", DESCRIBE_S, given={})
        try:
            found = ET.fromstring(ended.output)  # noqa: S314  (of a program that is run as ourselves anyway)
        except ET.ParseError as error:
            raise Invalid(f"{self._agent} does not say what it is: {self._complaint('metadata', ended)}") from error
        actions = {each.get("name"): each for each in found.iter("action")}
        if not {"on", "off", "status"} <= actions.keys():
            raise Invalid(f"{self._agent} does not switch power: it lacks on, off or status.")
        if actions["on"].get("automatic") == "1" or actions["on"].get("on_target") == "1":
            raise Invalid(f"{self._agent} cuts a host off from network or storage: its guests would run on.")
        parameters = {each.get("name", "") for each in found.iter("parameter")}
        if unknown := sorted(self._given.keys() - parameters):
            raise Invalid(f"{self._agent} takes no {unknown[0]}: it takes {', '.join(sorted(parameters - OURS))}.")

    async def _run(self, action: str, limit_s: float, given: Mapping[str, str] | None = None) -> Ended:
        program = shutil.which(self._agent, path=self._path)
        if program is None:
            raise NotNow(f"{self._agent} is not installed on this controller (Debian: package fence-agents)")
        told = {"action": action} | dict(self._given if given is None else given)
        text = "".join(f"{name}={value}\n" for name, value in told.items())
        # Nothing of ours is in its environment: settings may hold secrets, and a Python path of another Python.
        environment = {"PATH": self._path, "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
        work = partial(run, [program], limit_s, told=text, environment=environment)
        return await self._aside.call(work, limit_s + 1, self._agent)

    def _complaint(self, action: str, ended: Ended) -> str:
        """Say how the agent failed, without what is secret: agents repeat what they were told."""
        text = f"{ended.output} {ended.errors}"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        words = " ".join(text.split())[-200:]
        return f"{self._agent} ended {action} with status {ended.status}: {words or 'no word'}"
