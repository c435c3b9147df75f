"""Bytes on a real socket against a real controller's process: what no client library would send, or so slowly.

The server has to stay up, to answer others meanwhile, and to understand each connection as exactly the requests that
it holds: a request that two servers would cut differently is refused.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from renova.lab.ports import free_ports

PASSWORD = "s3cret-of-admin"
LIMIT_S = 10.0  # in which a server has to answer or hang up
BYSTANDER_S = 3.0  # in which another client has to be answered meanwhile; a busy machine needs some of it
GROWTH_KB = 60_000

_HOST = b"Host: cloud.example\r\n"
_GET = b"GET /identity/v3 HTTP/1.1\r\n" + _HOST
_POST = b"POST /identity/v3/auth/tokens HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_LAST = b"0\r\n\r\n"
_WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_HTTP2 = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
_HIDDEN = b"GET /identity/v3?hidden HTTP/1.1\r\n" + _HOST + b"\r\n"


@dataclass(frozen=True)
class Play:
    """What a client sends, with pauses (seconds) between; `None` closes its side."""

    name: str
    sends: tuple[bytes | float | None, ...]
    statuses: tuple[int, ...] | None = None  # exactly these answers, or any without 5xx
    most: int | None = None  # answers at most: of a connection that may be cut in two ways
    among: tuple[int, ...] | None = (
        None  # any answer is one of these; none, where the server hung up before it was read
    )

    def write(self, file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        sends = [each.hex() if isinstance(each, bytes) else each for each in self.sends]
        wanted = {"statuses": self.statuses, "most": self.most, "among": self.among}
        file.write_text(json.dumps({"name": self.name, "sends": sends, **wanted}))
        return file

    @staticmethod
    def read(file: Path) -> "Play":
        data = json.loads(file.read_text())
        sends = tuple(bytes.fromhex(each) if isinstance(each, str) else each for each in data["sends"])
        statuses, among = (None if data[name] is None else tuple(data[name]) for name in ("statuses", "among"))
        return Play(data["name"], sends, statuses, data["most"], among)

    @property
    def shown(self) -> str:
        """Return the play as commands for a shell."""
        parts = [
            f"sleep {each}" if isinstance(each, float) else f"printf %b {shown(each)}"
            for each in self.sends
            if each is not None
        ]
        return f"{{ {'; '.join(parts)}; }} | nc -q 5 127.0.0.1 8774"


def shown(data: bytes) -> str:
    text = "".join(chr(sign) if 32 <= sign < 127 and sign not in b"'\\%" else f"\\0{sign:03o}" for sign in data[:2000])
    return f"'{text}'" + (f" # and {len(data) - 2000} bytes more" if len(data) > 2000 else "")


# What must be refused, or read in one way only: the second request of each is no request.
SMUGGLING = (
    Play(
        "length and chunks",
        (_POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX" + _HIDDEN,),
        (400,),
    ),
    Play("two lengths", (_POST + b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + _HIDDEN,), (400,)),
    Play("lengths in a list", (_POST + b"Content-Length: 0, 60\r\n\r\n" + _HIDDEN,), (400,)),
    Play("negative length", (_POST + b"Content-Length: -1\r\n\r\n" + _HIDDEN,), (400,)),
    Play("signed length", (_POST + b"Content-Length: +0\r\n\r\n" + _HIDDEN,), (400,)),
    Play("length beyond all numbers", (_POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + _HIDDEN,), (400,)),
    Play("length of other digits", (_POST + "Content-Length: ٣\r\n\r\n".encode() + _HIDDEN,), (400,)),
    Play("hexadecimal length", (_POST + b"Content-Length: 0x0\r\n\r\n" + _HIDDEN,), (400,)),
    Play("blank before the colon", (_POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + _HIDDEN,), (400,)),
    Play(
        "chunked, and something else",
        (_POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _HIDDEN,),
        (400,),
    ),
    Play("nearly chunked", (_POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _HIDDEN,), None, 1),
    Play("folded header", (_POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + _HIDDEN,), None, 2),
    Play("bare line ends", (_POST.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",), None, 1),
    Play("carriage returns alone", (_POST.replace(b"\r\n", b"\r") + b"Content-Length: 0\r\r",), None, 1),
    Play("bad size of a chunk", (_POST + _CHUNKED + b"ZZ\r\nabc\r\n0\r\n\r\n" + _HIDDEN,), None, 1),
    Play(
        "endless size of a chunk",
        (_POST + _CHUNKED + b"F" * 40 + b"\r\n" + _HIDDEN,),
        None,
        1,
    ),
    Play("size of a chunk with a sign", (_POST + _CHUNKED + b"-1\r\n\r\n" + _HIDDEN,), None, 1),
    Play("chunk without its end", (_POST + _CHUNKED + b"1\r\nab0\r\n\r\n" + _HIDDEN,), None, 1),
    Play("null in a header", (_GET + b"X-A: a\0b\r\n\r\n",), (400,)),
    Play("null in the path", (b"GET /\0 HTTP/1.1\r\n" + _HOST + b"\r\n",), (400,)),
    Play("header without a name", (_GET + b": x\r\n\r\n",), (400,)),
)

# What is odd, and has to be borne.
ODD = (
    Play("nothing", (None,), ()),
    Play("only line ends", (b"\r\n" * 200, None), ()),
    Play("garbage", (bytes(range(256)) * 3,), (400,)),
    Play("another protocol", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 300,), (400,)),
    Play("HTTP/2 without asking", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), None),
    Play("HTTP/0.9", (b"GET /\r\n\r\n",), None),
    Play("HTTP/1.0", (b"GET / HTTP/1.0\r\n\r\n",), (200,)),
    Play("HTTP/9.9", (b"GET / HTTP/9.9\r\n" + _HOST + b"\r\n",), (400,)),
    Play("no host", (b"GET / HTTP/1.1\r\n\r\n",), None),
    Play("whole address", (b"GET http://cloud.example/identity/v3 HTTP/1.1\r\n" + _HOST + b"\r\n",), None),
    Play("star", (b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",), None),
    Play("tunnel", (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",), None),
    Play("unknown method", (b"BREW / HTTP/1.1\r\n" + _HOST + b"\r\n",), (400,)),
    Play("small method", (b"get / HTTP/1.1\r\n" + _HOST + b"\r\n",), (400,)),
    Play("odd letters in the path", ("GET /ü/\u200f HTTP/1.1\r\n".encode() + _HOST + b"\r\n",), None),
    Play("WebSocket", (_GET + _WEBSOCKET,), None),
    Play("HTTP/2 by upgrade", (_GET + _HTTP2,), None),
    Play("pipeline", ((_GET + b"\r\n") * 40,), (200,) * 40),
    Play("pipeline with a bad one", ((_GET + b"\r\n") * 2 + b"BAD\r\n\r\n",), None, 3),
    Play("body that is not asked for", (_GET + b"Content-Length: 3\r\n\r\nabc" + _GET + b"\r\n",), (200, 200)),
    Play("body in pieces", (_POST + _CHUNKED, 0.05, b"2\r\n{}\r\n", 0.05, _LAST), (400,)),
    Play("chunk extension", (_POST + _CHUNKED + b"2;a=b\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n",), (400,)),
    Play("expect", (_POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n", 0.05, b"{}"), None),
    Play("expect something else", (_POST + b"Content-Length: 2\r\nExpect: miracles\r\n\r\n{}",), None),
    Play("client is gone", (_POST + b"Content-Length: 20\r\n\r\n{}", None), None),
    Play("slow head", (b"GET / HT", 0.2, b"TP/1.1\r\nHo", 0.2, b"st: x\r\n", 0.2, b"\r\n"), (200,)),
    Play("many headers", (_GET + b"X-A: b\r\n" * 40_000 + b"\r\n",), among=(431,)),
    Play("one long header", (_GET + b"X-A: " + b"b" * 300_000 + b"\r\n\r\n",), among=(431,)),
    Play("header without an end", (_GET + b"X-A: " + b"b" * 3_000_000,), among=(431,)),
    Play("long address", (b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",), among=(431,)),
    Play("long query", (b"GET /?" + b"a=b&" * 10_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",), (200,)),
    Play("too large a body", (_POST + b"Content-Length: 9000000\r\n\r\n" + b"a" * 9_000_000,), None, 1),
    Play("endless body", (_POST + _CHUNKED, *[b"4000\r\n" + b"a" * 0x4000 + b"\r\n"] * 300), None, 1),
)  # fmt: skip


@dataclass
class Wire:
    """What a run on the wire found."""

    plays: int = 0
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0  # that another client waited
    growth_kb: int = 0


class Served:
    """A controller in a process of its own."""

    def __init__(self, place: Path) -> None:
        self.port, agents = free_ports(2)
        self.log = place / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RENOVA_")}
        environment |= {
            "RENOVA_STATE_DIR": str(place / "state"),
            "RENOVA_API_PORT": str(self.port),
            "RENOVA_AGENTS_PORT": str(agents),
            "RENOVA_ADMIN_PASSWORD": PASSWORD,
        }
        with self.log.open("wb") as log:
            argv = [sys.executable, "-m", "renova.main", "controller"]
            self.process = subprocess.Popen(argv, env=environment, stderr=log, stdin=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the controller did not begin: {self.log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def memory_kb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def play(self, play: Play) -> list[str]:
        """Play it, and return what is wrong with what came back."""
        connection = socket.create_connection(("127.0.0.1", self.port), LIMIT_S)
        with connection:
            connection.settimeout(LIMIT_S)
            received, hung = _exchanged(connection, play)
        statuses = _statuses(received)
        wrong = []
        if hung:
            wrong.append(f"neither answered nor hung up within {LIMIT_S:g} s")
        if any(status >= 500 for status in statuses):
            wrong.append(f"answered {statuses}: {received[:300]!r}")
        if play.statuses is not None and tuple(statuses) != play.statuses:
            wrong.append(f"answered {statuses}, not {list(play.statuses)}: {received[:300]!r}")
        if play.among is not None and not set(statuses) <= set(play.among):
            wrong.append(f"answered {statuses}, none of {list(play.among)}: {received[:300]!r}")
        if play.most is not None and len(statuses) > play.most:
            wrong.append(f"{len(statuses)} answers to at most {play.most} requests: {received[:300]!r}")
        return wrong

    def bystander_s(self) -> float:
        """Return how long a client that does nothing wrong waits for its answer."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.settimeout(30)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return time.monotonic() - began


def _exchanged(connection: socket.socket, play: Play) -> tuple[bytes, bool]:
    """Send the play and return what comes back until the server hangs up or nothing more comes; and whether it hung."""
    received = b""
    half_closed = False
    try:
        for each in play.sends:
            if each is None:
                connection.shutdown(socket.SHUT_WR)
                half_closed = True
            elif isinstance(each, float):
                time.sleep(each)
            else:
                connection.sendall(each)
    except OSError:
        pass  # it has hung up already: that may be its answer
    want = len(play.statuses) if play.statuses is not None else None
    deadline = time.monotonic() + LIMIT_S
    try:
        while piece := connection.recv(65536):
            received += piece
            if want is not None and len(_statuses(received)) >= want > 0 and not half_closed:
                connection.settimeout(0.2)  # more than was wanted would come at once
            if time.monotonic() > deadline:
                return received, True
    except TimeoutError:
        return received, not received
    except OSError:
        pass
    return received, False


def _statuses(received: bytes) -> list[int]:
    """Return the statuses of all answers in what was received, without that to an expectation."""
    found = []
    for part in received.split(b"HTTP/1.1 ")[1:]:
        if part[:3].isdigit() and part[:3] != b"100":
            found.append(int(part[:3]))
    return found


def made_up(rng: random.Random) -> Play:
    """Return a play of bytes that begin as a good request and are spoilt."""
    data = bytearray(
        rng.choice((_GET + b"\r\n", _POST + b"Content-Length: 2\r\n\r\n{}", _HIDDEN * 3, _GET * 2 + b"\r\n"))
    )
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data))
        choice = rng.randrange(5)
        if choice == 0:
            data[place] = rng.randrange(256)
        elif choice == 1:
            del data[place : place + rng.randint(1, 12)]
        elif choice == 2:
            data[place:place] = rng.choice(
                (b"\r\n", b"\n", b"\0", b" ", b"\t", b":", b"\xff", b"%00", b"\r", b"A" * 9000)
            )
        elif choice == 3:
            line = rng.choice(
                (
                    b"Content-Length: 5",
                    b"Transfer-Encoding: chunked",
                    b"Connection: close",
                    b"Upgrade: x",
                    b"Expect: 100-continue",
                )
            )
            data = data.replace(_HOST, _HOST + line + b"\r\n", 1)
        elif len(data) < 1000:
            data += data[place:]
        if not data:
            data = bytearray(b"x")
    cut = rng.randrange(len(data))
    return Play("made up", (bytes(data[:cut]), rng.choice((0.0, 0.0, 0.02)), bytes(data[cut:]), None))


def played_again(file: Path) -> list[str]:
    """Play what the file holds against a new server, and return what is wrong."""
    with served() as server:
        return server.play(Play.read(file))


def run(seed: int, count: int, folder: Path, jobs: int = 4) -> Wire:
    """Play all that is known to be odd, and more that is made up, several at a time, with others looking on."""
    found = Wire()
    rng = random.Random(f"{seed}:wire")
    plays = [*SMUGGLING, *ODD]
    plays += [made_up(rng) for _ in range(max(0, count - len(plays)))]
    with served() as server, ThreadPoolExecutor(jobs) as threads:
        for _ in range(20):
            server.bystander_s()
        before, descriptors = server.memory_kb(), server.descriptors()
        playing = [(play, threads.submit(server.play, play)) for play in plays]
        while not all(future.done() for _, future in playing):
            found.slowest_s = max(found.slowest_s, server.bystander_s())
            time.sleep(0.05)
        for play, future in playing:
            found.plays += 1
            if wrong := future.result():
                file = play.write(folder / f"wire-{seed}-{found.plays}.json")
                again = f"again: script/fuzz --play {file}"
                found.faults.append(f"{play.name}: {'; '.join(wrong)}\n  {play.shown}\n  {again}")
        if found.slowest_s > BYSTANDER_S:
            found.faults.append(f"another client waited {found.slowest_s:.1f} s")
        found.faults += _left(server, found, before, descriptors)
    return found


def _left(server: Served, found: Wire, memory: int, descriptors: int) -> list[str]:
    """Return what is wrong with the server once all is over."""
    faults = []
    if server.process.poll() is not None:
        return [f"the server ended: {server.log.read_text()[-2000:]}"]
    deadline = time.monotonic() + 20
    while server.descriptors() > descriptors + 2 and time.monotonic() < deadline:
        time.sleep(0.1)  # connections kept alive are let go after some seconds
    if server.descriptors() > descriptors + 2:
        faults.append(f"{server.descriptors() - descriptors} connections are left")
    found.growth_kb = server.memory_kb() - memory
    if found.growth_kb > GROWTH_KB:
        faults.append(f"memory grew by {found.growth_kb} KiB")
    log = server.log.read_text()
    for sign in ('"level": "error"', "Traceback", PASSWORD):
        if sign in log:
            place = log.index(sign)
            faults.append(f"the log has {sign}: {log[max(0, place - 500) : place + 1500]}")
    return faults


@contextmanager
def served() -> Iterator[Served]:
    """Have a controller run in a process of its own."""
    with TemporaryDirectory(prefix="renova-wire-") as place:
        server = Served(Path(place))
        try:
            yield server
        finally:
            server.end()
