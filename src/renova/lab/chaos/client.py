"""The cloud's API as the users of a campaign speak it: an answer, or that nobody gave one."""

import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from renova.lab.home import Home
from renova.model.errors import NotNow

_TIMEOUT_S = 15.0
_AWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


class Away(NotNow):
    """Nobody answered, or nobody who could: whether what was asked for was done is not known.

    `answer` is what was said instead, if anything was.
    """

    def __init__(self, text: str, answer: httpx.Response | None = None) -> None:
        super().__init__(text)
        self.answer = answer


@dataclass(frozen=True)
class Answer:
    """What the API answered: anything but that it cannot answer now."""

    status: int
    body: Any
    request: str  # its id

    @property
    def accepted(self) -> bool:
        return self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def reason(self) -> str:
        """What a refusal says."""
        if isinstance(self.body, dict):
            for fault in self.body.values():
                if isinstance(fault, dict) and "message" in fault:
                    return str(fault["message"])
        return f"status {self.status}"


class Client:
    """Speaks as the administrator, to the API at `url`; may be used by several threads. `timeout` is in seconds."""

    def __init__(self, home: Home, url: str, timeout: float = _TIMEOUT_S) -> None:
        self._password = home.password("admin").read_text().strip()
        self._http = httpx.Client(base_url=url, timeout=timeout, trust_env=False)
        self._token = ""
        self._lock = threading.Lock()

    def close(self) -> None:
        self._http.close()

    def compute(self, method: str, path: str, body: Any = None, version: str = "2.94") -> Answer:
        return self.ask(method, f"/compute/v2.1{path}", body, {"OpenStack-API-Version": f"compute {version}"})

    def placement(self, path: str) -> Answer:
        return self.ask("GET", f"/placement{path}", None, {"OpenStack-API-Version": "placement 1.39"})

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Ask, with a token; `Away` when nobody could answer."""
        for _ in range(2):
            token = self._have_token()
            answer = self._send(method, path, body, {"X-Auth-Token": token, **(headers or {})})
            if answer.status_code != HTTPStatus.UNAUTHORIZED:
                return _answer(answer)
            with self._lock:
                if self._token == token:
                    self._token = ""
        return _answer(answer)

    def _have_token(self) -> str:
        with self._lock:
            if not self._token:
                self._token = self._new_token()
            return self._token

    def _new_token(self) -> str:
        domain = {"name": "Default"}
        user = {"name": "admin", "password": self._password, "domain": domain}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "admin", "domain": domain}},
            }
        }
        answer = self._send("POST", "/identity/v3/auth/tokens", body, {})
        if answer.status_code != HTTPStatus.CREATED:
            raise Away(f"no token was given: {answer.status_code}")
        return answer.headers["X-Subject-Token"]

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise Away(f"{method} {path}: {type(error).__name__}") from error
        if answer.status_code in _AWAY:
            raise Away(f"{method} {path}: {answer.status_code}", answer)
        return answer


def _answer(answer: httpx.Response) -> Answer:
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    body = answer.json() if is_json and answer.content else None
    return Answer(answer.status_code, body, answer.headers.get("X-Compute-Request-Id", ""))
