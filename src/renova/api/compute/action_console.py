"""os-getConsoleOutput: the end of what the guest wrote to its console."""

from typing import Annotated

from msgspec import Meta

from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.fields import Body
from renova.api.compute.visible import find_server
from renova.api.http import Call, Reply
from renova.model.errors import Conflict

POLICY = {"os_compute_api:os-console-output": "rule:project_member_or_admin"}

MOST = 100 * 1024  # bytes


class ConsoleOutput(Body):
    """How many lines, counted from the end; null and -1 are all."""

    length: Annotated[int, Meta(ge=-1)] | Annotated[str, Meta(pattern=r"^(-1|[0-9]{1,10})\Z")] | None = None


async def console_output(call: Call, value: Value) -> Reply:
    wanted = read_value(call, "os-getConsoleOutput", value, ConsoleOutput).length
    server = await find_server(call, "os_compute_api:os-console-output")
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    text = await call.cloud.agents.console(server.host, server.id, MOST)
    return Reply(200, {"output": last_lines(text, -1 if wanted is None else int(wanted))})


def last_lines(text: bytes, lines: int) -> str:
    """Return that many lines from the end (less than 0: all), without signs that would steer a terminal."""
    kept = "".join(
        sign for sign in text.decode(errors="replace") if sign in "\t\n\r" or (sign >= " " and sign != "\x7f")
    )
    if lines < 0:
        return kept
    ended = kept.endswith("\n")  # what follows the last line end is no line
    last = kept.removesuffix("\n").split("\n")[-lines:] if lines else []
    return "\n".join(last) + ("\n" if last and ended else "")


ACTIONS = {"os-getConsoleOutput": Action(console_output)}
