"""What switches each host's power, with the secrets for it encrypted: the key is not in the database."""

from typing import Any

from sqlalchemy import Column, String, Table, Text, bindparam, delete, insert, select, update

from renova.model.ids import HostId
from renova.model.power import PowerController
from renova.store.database import Tx
from renova.store.schema import Document, Stamp, metadata

power_controllers = Table(
    "power_controllers",
    metadata,
    Column("host", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("address", String(255), nullable=False),
    Column("username", String(255), nullable=False),
    Column("options", Document(dict[str, str]), nullable=False),
    Column("secrets", Document(tuple[str, ...]), nullable=False),
    Column("sealed", Text, nullable=False),
    Column("system", String(64), nullable=False),
    Column("tested_at", Stamp),
    Column("rehearsed_at", Stamp),
    Column("wired_by", String(255), nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
)

_GET = select(power_controllers).where(power_controllers.c.host == bindparam("of"))
_CHANGE = update(power_controllers).where(power_controllers.c.host == bindparam("of"))


def put(
    tx: Tx,
    host: HostId,
    *,
    kind: str,
    address: str,
    username: str,
    options: dict[str, str],
    secrets: tuple[str, ...],
    sealed: str,
    system: str,
    who: str,
) -> None:
    """Have the host's power switched by this from now on; it was read just now, and never yet rehearsed."""
    known = get(tx, host)
    remove(tx, host)
    values = {"host": host, "kind": kind, "address": address, "username": username, "options": options}
    values |= {"secrets": secrets, "sealed": sealed, "system": system, "wired_by": who, "tested_at": tx.now}
    times = {"created_at": known.created_at if known else tx.now, "updated_at": tx.now}
    tx.execute(insert(power_controllers).values(**values, **times))


def get(tx: Tx, host: HostId) -> PowerController | None:
    row = tx.execute(_GET, {"of": host}).first()
    return PowerController(**row._mapping) if row else None


def every(tx: Tx) -> list[PowerController]:
    rows = tx.execute(select(power_controllers).order_by(power_controllers.c.host))
    return [PowerController(**row._mapping) for row in rows]


def change(tx: Tx, host: HostId, **values: Any) -> None:
    tx.execute(_CHANGE, {"of": host, **values})


def remove(tx: Tx, host: HostId) -> bool:
    """Have the host's power switched by nothing; False if it was so already."""
    return bool(tx.execute(delete(power_controllers).where(power_controllers.c.host == host)).rowcount)
