"""A volume's or snapshot's own words: metadata, as a whole and key by key."""

from collections.abc import Callable
from typing import Any

from renova.api.http import Call, Handler, Reply, Route
from renova.api.volume.found import Pairs, demand_pairs, snapshot_of, volume_of, wrapped
from renova.model.errors import Invalid, NotFound
from renova.store import volume_snapshots, volumes
from renova.store.database import Tx
from renova.store.volume_snapshots import StoredSnapshot
from renova.store.volumes import StoredVolume

POLICY = {
    "volume:get_volume_metadata": "rule:project_reader_or_admin",
    "volume:create_volume_metadata": "rule:project_member_or_admin",
    "volume:update_volume_metadata": "rule:project_member_or_admin",
    "volume:delete_volume_metadata": "rule:project_member_or_admin",
    "volume:get_snapshot_metadata": "rule:project_reader_or_admin",
    "volume:update_snapshot_metadata": "rule:project_member_or_admin",
    "volume:delete_snapshot_metadata": "rule:project_member_or_admin",
}

Row = StoredVolume | StoredSnapshot


def _find(call: Call, tx: Tx, verb: str) -> Row:
    if "volume" in call.path:
        return volume_of(call, tx, f"volume:{verb}_volume_metadata")
    return snapshot_of(call, tx, f"volume:{'update' if verb == 'create' else verb}_snapshot_metadata")


def _keep(tx: Tx, row: Row, pairs: Pairs) -> Pairs:
    demand_pairs(pairs)
    if isinstance(row, StoredVolume):
        volumes.change(tx, row.id, metadata=pairs)
    else:
        volume_snapshots.change(tx, row.id, metadata=pairs)
    return pairs


async def _change(call: Call, verb: str, change: Callable[[Pairs], Pairs]) -> Pairs:
    def work(tx: Tx) -> Pairs:
        row = _find(call, tx, verb)
        return _keep(tx, row, change(dict(row.metadata)))

    return await call.cloud.database.transact(work)


async def show(call: Call) -> Reply:
    return Reply(200, {"metadata": (await call.cloud.database.read(lambda tx: _find(call, tx, "get"))).metadata})


async def show_one(call: Call) -> Reply:
    key = call.path["key"]
    found = (await call.cloud.database.read(lambda tx: _find(call, tx, "get"))).metadata
    if key not in found:
        raise NotFound(f"Metadata item {key} was not found.")
    return Reply(200, {"meta": {key: found[key]}})


async def add(call: Call) -> Reply:
    given: Pairs = wrapped(call, "metadata", Pairs)
    return Reply(200, {"metadata": await _change(call, "create", lambda have: have | given)})


async def replace(call: Call) -> Reply:
    given: Pairs = wrapped(call, "metadata", Pairs)
    return Reply(200, {"metadata": await _change(call, "update", lambda _have: given)})


async def set_one(call: Call) -> Reply:
    given: Pairs = wrapped(call, "meta", Pairs)
    key = call.path["key"]
    if list(given) != [key]:
        raise Invalid("Request body and URI mismatch: 'meta' must hold just the key that the path names.")
    await _change(call, "update", lambda have: have | given)
    return Reply(200, {"meta": given})


async def delete_one(call: Call) -> Reply:
    key = call.path["key"]

    def without(have: Pairs) -> Pairs:
        if key not in have:
            raise NotFound(f"Metadata item {key} was not found.")
        return {name: value for name, value in have.items() if name != key}

    await _change(call, "delete", without)
    return Reply(200)


def _routes(base: str) -> list[Route]:
    table: list[tuple[str, str, Handler]] = [
        ("GET", "", show),
        ("POST", "", add),
        ("PUT", "", replace),
        ("GET", "/{key}", show_one),
        ("PUT", "/{key}", set_one),
        ("DELETE", "/{key}", delete_one),
    ]
    return [Route(method, f"{base}/metadata{path}", handler) for method, path, handler in table]


ROUTES: list[Any] = [*_routes("/volumes/{volume}"), *_routes("/snapshots/{snapshot}")]
