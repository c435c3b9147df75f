"""One HTTP request as the fuzzer sends it, and the answer: data that can be kept in a file and shown as a command."""

import base64
import json
import shlex
from dataclasses import dataclass, field
from typing import Any

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """What is sent. Header values go out as latin-1 where they can, else as UTF-8; "{demo}" is demo's token."""

    method: str
    target: str  # path and query as on the wire: ASCII, quoted
    headers: Headers = ()
    body: bytes = b""
    broken_off: bool = False  # the client is gone before its body ends

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def with_header(self, name: str, value: str) -> "Request":
        kept = tuple(each for each in self.headers if each[0].lower() != name.lower())
        return Request(self.method, self.target, (*kept, (name, value)), self.body, self.broken_off)

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "target": self.target,
            "headers": [list(each) for each in self.headers],
            "body": base64.b64encode(self.body).decode(),
            "broken_off": self.broken_off,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Request":
        headers = tuple((name, value) for name, value in data["headers"])
        return Request(
            data["method"], data["target"], headers, base64.b64decode(data["body"]), data.get("broken_off", False)
        )

    def as_curl(self) -> str:
        """Return a command for a shell; a body that no shell takes is decoded by it."""
        words = ["curl", "-sS", "-i", "--path-as-is", "-X", self.method]
        for name, value in self.headers:
            words += ["-H", f"{name}: {value}" if value else f"{name};"]
        url = shlex.quote(f"http://127.0.0.1:8774{self.target}")
        command = f"{shlex.join(words)} {url}"
        if not self.body:
            return command
        if len(self.body) <= 4096 and all(32 <= sign < 127 for sign in self.body):
            return f"{command} --data-binary {shlex.quote(self.body.decode())}"
        if len(self.body) <= 4096:
            return f"echo {base64.b64encode(self.body).decode()} | base64 -d | {command} --data-binary @-"
        return f"{command} --data-binary @-  # {len(self.body)} bytes, in the file of the case: {self.body[:60]!r}..."


@dataclass
class Answer:
    """What came back, and what it cost."""

    status: int = 0  # 0: none came
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    crash: str = ""  # what the application raised instead of answering
    cpu_s: float = 0.0
    took_s: float = 0.0  # virtual
    changes: list[str] = field(default_factory=list)  # of the database, made for the request, as text
    broke_off: str = ""  # the body ended early, and why

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> Any:
        """Return the body, or None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None
