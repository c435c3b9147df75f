"""Chance, passed in: identities, secrets and jitter. A simulated run draws all three from one seed."""

import random
import secrets
import uuid
from typing import Protocol


class Chance(Protocol):
    """A source of identities and randomness."""

    def uuid(self) -> str: ...
    def secret(self) -> str: ...
    def uniform(self, low: float, high: float) -> float: ...


class SystemChance:
    """The machine's own randomness; secrets come from the operating system."""

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def secret(self) -> str:
        """Return 256 random bits, URL-safe."""
        while (text := secrets.token_urlsafe(32)).startswith("-"):
            pass  # it would be an option to whoever types it in a command
        return text

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)  # noqa: S311  (jitter, not a secret)


class SeededChance:
    """Everything follows from one seed: for the simulation, never for a real cloud."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  (no secret: a real cloud has the other)

    def begin_again(self, seed: int) -> None:
        """Go on from another seed."""
        self._random.seed(seed)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def secret(self) -> str:
        return f"{self._random.getrandbits(256):064x}"

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)
