"""BMCs that lie, hang and refuse: whatever one answers, it is no error but one of ours, and never "off" by chance."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from renova.aside import Aside
from renova.lab.bmc import USER
from renova.model.errors import CloudError, Invalid, NotNow, Refused
from renova.model.power import Reading
from renova.power import HostPower
from renova.power.redfish import RedfishSwitch
from tests.contract.bmc import PASSWORD

OTHER = "99999999-9999-4999-8999-999999999999"


@dataclass
class Answers:
    """What a BMC answers to each path; a path that is missing is never answered."""

    by_path: dict[str, tuple[int, Any]] = field(default_factory=dict)
    posted: list[Any] = field(default_factory=list)


SYSTEM = {
    "@odata.id": "/redfish/v1/Systems/1",
    "Id": "1",
    "UUID": OTHER,
    "PowerState": "On",
    "Actions": {
        "#ComputerSystem.Reset": {
            "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            "ResetType@Redfish.AllowableValues": ["On", "ForceOff"],
        }
    },
}
ROOT = {"Id": "RootService", "Name": "Root", "RedfishVersion": "1.6.0", "Systems": {"@odata.id": "/redfish/v1/Systems"}}


@contextmanager
def answering(answers: Answers, limit_s: float = 30.0) -> Iterator[RedfishSwitch]:
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.rstrip("/")
            if path not in answers.by_path:
                ended.wait(60)
                return
            status, body = answers.by_path[path]
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            answers.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.do_GET()

        def log_message(self, *_arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        options = {"verify": "no", "system": "/redfish/v1/Systems/1"}
        yield RedfishSwitch(address, USER, options, {"password": PASSWORD}, Aside(), limit_s)
    finally:
        ended.set()
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize(
    ("state", "reading"),
    [
        ("On", Reading.ON),
        ("Off", Reading.OFF),
        ("off", Reading.UNKNOWN),
        ("PoweringOff", Reading.UNKNOWN),
        ("PoweringOn", Reading.UNKNOWN),
        ("Paused", Reading.UNKNOWN),
        ("", Reading.UNKNOWN),
        (None, Reading.UNKNOWN),
        (0, Reading.UNKNOWN),
        (["Off"], Reading.UNKNOWN),
        ({"Off": 1}, Reading.UNKNOWN),
    ],
    ids=repr,
)
async def test_only_on_and_off_are_readings(state: Any, reading: Reading) -> None:
    answers = Answers({"/redfish/v1": (200, ROOT), "/redfish/v1/Systems/1": (200, SYSTEM | {"PowerState": state})})
    with answering(answers) as switch:
        assert (await HostPower(switch, by="").read()).reading is reading


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("body", [b"", b"Off", b"{", b"[]", b"null", b"{}", b'{"PowerState": {"Off": "Off"}}', b"\xff"])
async def test_a_bmc_that_talks_nonsense_says_nothing(status: int, body: bytes) -> None:
    answers = Answers({"/redfish/v1": (200, ROOT), "/redfish/v1/Systems/1": (status, body)})
    with answering(answers) as switch:
        assert (await HostPower(switch, by="").read()).reading is Reading.UNKNOWN
        with pytest.raises(CloudError):
            await switch.switch_off()
    assert answers.posted == []


async def test_a_bmc_that_cannot_cut_the_power_says_so() -> None:
    soft = {"#ComputerSystem.Reset": {"target": "/off", "ResetType@Redfish.AllowableValues": ["GracefulShutdown"]}}
    answers = Answers({"/redfish/v1": (200, ROOT), "/redfish/v1/Systems/1": (200, SYSTEM | {"Actions": soft})})
    with answering(answers) as switch, pytest.raises(Refused, match="does not offer ForceOff"):
        await switch.switch_off()
    assert answers.posted == []


@pytest.mark.parametrize("status", [400, 409, 500])
async def test_a_bmc_that_refuses_is_asked_once(status: int) -> None:
    reset = SYSTEM["Actions"]["#ComputerSystem.Reset"]["target"]  # type: ignore[index]
    answers = Answers({"/redfish/v1": (200, ROOT), "/redfish/v1/Systems/1": (200, SYSTEM), reset: (status, {})})
    with answering(answers) as switch, pytest.raises(NotNow):
        await switch.switch_off()
    assert answers.posted == [{"ResetType": "ForceOff"}]


async def test_a_bmc_that_hangs_is_given_up() -> None:
    with answering(Answers({"/redfish/v1": (200, ROOT)}), limit_s=0.5) as switch:
        said = await HostPower(switch, by="").read()
    assert said.reading is Reading.UNKNOWN
    assert "has not answered within 0.5 s" in said.why


async def test_a_bmc_that_is_not_there_is_said_to_be_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    switch = RedfishSwitch(f"http://127.0.0.1:{port}", USER, {"verify": "no", "system": "/s"}, {}, Aside())
    with pytest.raises(NotNow, match="Unable to connect"):
        await switch.read()


@pytest.mark.parametrize(
    ("address", "options", "secrets", "why"),
    [
        ("bmc", {}, {}, "looks like"),
        ("ftp://bmc", {}, {}, "looks like"),
        ("https://[bmc", {}, {}, "looks like"),
        ("https://bmc:0x", {}, {}, "looks like"),
        ("https://bmc/?a", {}, {}, "looks like"),
        ("https://user:word@bmc", {}, {}, "it is shown"),
        ("http://bmc", {}, {}, "in the clear"),
        ("https://bmc", {"verify": "maybe"}, {}, "verify"),
        ("https://bmc", {"system": "1"}, {}, "system"),
        ("https://bmc", {"color": "red"}, {}, "'color'"),
        ("https://bmc", {}, {"token": "x"}, "'token'"),
    ],
)
def test_what_can_be_no_bmc_is_refused_before_it_is_asked(
    address: str, options: dict[str, str], secrets: dict[str, str], why: str
) -> None:
    with pytest.raises(Invalid, match=why):
        RedfishSwitch(address, "", options, secrets, Aside())
