"""Tells events by HTTP: a POST each, CloudEvents in structured mode."""

import httpx
import msgspec

from renova.model.errors import NotNow, Refused
from renova.partners.notifications import CloudEvent

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
NEVER = (400, 413, 422)  # what is wrong with an event now is wrong with it tomorrow


class HttpSink:
    """Posts to one address. `timeout` in seconds, for each of connecting, sending and waiting for the answer."""

    def __init__(self, url: str, *, token: str, timeout: float) -> None:
        headers = {"Content-Type": CONTENT_TYPE, "User-Agent": "renova"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._url = url
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, follow_redirects=False)

    async def deliver(self, event: CloudEvent) -> None:
        try:
            answer = await self._client.post(self._url, content=msgspec.json.encode(event))
        except httpx.HTTPError as error:
            raise NotNow(f"the receiver of notifications cannot be reached ({type(error).__name__})") from error
        if answer.status_code in NEVER:
            raise Refused(f"the receiver of notifications answered {answer.status_code}")
        if not answer.is_success:
            raise NotNow(f"the receiver of notifications answered {answer.status_code}")

    async def close(self) -> None:
        await self._client.aclose()
