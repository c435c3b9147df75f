"""Passwords: hashed by Argon2id, in threads of their own, so that signing in never holds up other requests."""

import asyncio

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

_AT_ONCE = 2  # checks running at a time: each takes a core, and others need some too
# About 40 ms of one core. More than 32 MiB, because glibc gives such a piece back to the system as soon as it is free,
# while of a smaller one every thread that ever hashed would keep as much.
_hasher = argon2.PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)
# Of a random password, by the same parameters; written out, for each start would make it anew.
_NOBODY = "$argon2id$v=19$m=47104,t=1,p=1$Jts2FnvAMnaiHM81uMOWvA$/sBojzXH9TRi7wUmUBxc/3FalHqYD83wzu1d2nQx0tc"


class Passwords:
    """Makes and checks hashes; never tells by its time whether a user exists."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def hash(self, password: str) -> str:
        async with self._turn:
            return await asyncio.to_thread(_hasher.hash, password)

    async def fits(self, password_hash: str | None, password: str) -> bool:
        """Say whether the password is the one hashed; None, for a user unknown, takes as long and is False."""
        async with self._turn:
            fits = await asyncio.to_thread(_verify, password_hash or _NOBODY, password)
        return fits and password_hash is not None


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
