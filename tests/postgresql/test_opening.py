"""A database that cannot be opened: waited for where it is away, said clearly where the address is wrong."""

import re
from typing import TYPE_CHECKING

import pytest

from renova.lab.ports import free_ports
from renova.model.errors import BadSetup, NotNow
from renova.store.postgresql import open_postgresql

if TYPE_CHECKING:
    from renova.lab.postgresql import PostgreSQL


@pytest.mark.parametrize(
    ("pattern", "replacement", "says"),
    [
        (r"://renova:[^@]*@", "://renova:not-the-password@", "refuses the user's password"),
        (r"://renova:[^@]*@", "://nobody:not-the-password@", "refuses the user's password"),
        (r"/[^/]*$", "/nowhere", "no database of this name"),
        (r"@127.0.0.1:", "@no-such-host.invalid:", "no address is known"),
    ],
)
def test_a_wrong_address_is_said_to_be_wrong_without_its_password(
    postgresql_server: "PostgreSQL", pattern: str, replacement: str, says: str
) -> None:
    address = re.sub(pattern, replacement, postgresql_server.url())
    with pytest.raises(BadSetup, match=says) as caught:
        open_postgresql(address)
    assert postgresql_server.password not in str(caught.value)
    assert "not-the-password" not in str(caught.value)


def test_a_database_that_does_not_answer_may_be_asked_again() -> None:
    (port,) = free_ports(1)
    with pytest.raises(NotNow, match="does not answer"):
        open_postgresql(f"postgresql://renova:secret-word@127.0.0.1:{port}/renova")
