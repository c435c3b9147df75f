"""How many volumes, snapshots and GiB a project may have, for users to see and administrators to set."""

from typing import Any

from renova.api.digits import whole
from renova.api.dispatch import Failure
from renova.api.http import Call, Reply, Route
from renova.api.volume.found import wrapped
from renova.api.volume.paging import is_true
from renova.model.errors import Invalid
from renova.model.ids import ProjectId
from renova.partners.volume.limits import exceeded, usage
from renova.store import volume_quotas
from renova.store.database import Tx

POLICY = {
    "volume_extension:quotas:show": "rule:project_reader_or_admin",
    "volume_extension:quotas:update": "rule:admin_api",
    "volume_extension:quotas:delete": "rule:admin_api",
    "limits_extension:used_limits": "rule:project_reader_or_admin",
}


def demand_gigabytes(tx: Tx, project: ProjectId, size_gb: int, what: str | None, *, of_gb: int = 0) -> None:
    """Raise `Failure` 413 unless the project may have another volume or snapshot (`what`) and so many GiB more."""
    if (reason := exceeded(tx, project, size_gb, what, of_gb=of_gb)) is not None:
        raise Failure(413, reason)


async def limits(call: Call) -> Reply:
    call.demand("limits_extension:used_limits")
    project = call.caller.project

    def read(tx: Tx) -> dict[str, int]:
        most, used = volume_quotas.of_project(tx, project), usage(tx, project)
        return {
            "maxTotalVolumes": most["volumes"],
            "maxTotalSnapshots": most["snapshots"],
            "maxTotalVolumeGigabytes": most["gigabytes"],
            "maxTotalBackups": most["backups"],
            "maxTotalBackupGigabytes": most["backup_gigabytes"],
            "totalVolumesUsed": used["volumes"],
            "totalSnapshotsUsed": used["snapshots"],
            "totalGigabytesUsed": used["gigabytes"],
            "totalBackupsUsed": 0,
            "totalBackupGigabytesUsed": 0,
        }

    return Reply(200, {"limits": {"rate": [], "absolute": await call.cloud.database.read(read)}})


async def show(call: Call) -> Reply:
    project = ProjectId(call.path["of"])
    call.demand("volume_extension:quotas:show", {"project_id": project})

    def read(tx: Tx) -> dict[str, Any]:
        most, used = volume_quotas.of_project(tx, project), usage(tx, project)
        if not is_true(call.one("usage")):
            return {"id": project, **most}
        shown = {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0} for name, limit in most.items()}
        return {"id": project, **shown}

    return Reply(200, {"quota_set": await call.cloud.database.read(read)})


async def defaults(call: Call) -> Reply:
    project = ProjectId(call.path["of"])
    call.demand("volume_extension:quotas:show", {"project_id": project})
    return Reply(200, {"quota_set": {"id": project, **volume_quotas.DEFAULTS}})


async def update(call: Call) -> Reply:
    project = ProjectId(call.path["of"])
    call.demand("volume_extension:quotas:update", {"project_id": project})
    wanted: dict[str, Any] = wrapped(call, "quota_set", dict[str, Any])
    limits: dict[str, int] = {}
    for name, value in wanted.items():
        if name in ("tenant_id", "force", "skip_validation"):
            continue
        if name not in volume_quotas.DEFAULTS:
            raise Invalid(f"Bad key(s) in quota set: {name}")
        number = -1 if str(value) == "-1" else whole(str(value))
        if number is None or number >= 2**31:
            raise Invalid(f"Quota {name} must be a number, or -1 for no limit, not {value!r}.")
        limits[name] = number

    def change(tx: Tx) -> dict[str, int]:
        volume_quotas.change(tx, project, limits)
        return volume_quotas.of_project(tx, project)

    return Reply(200, {"quota_set": await call.cloud.database.transact(change)})


async def reset(call: Call) -> Reply:
    project = ProjectId(call.path["of"])
    call.demand("volume_extension:quotas:delete", {"project_id": project})
    await call.cloud.database.transact(lambda tx: volume_quotas.reset(tx, project))
    return Reply(200)


ROUTES = [
    Route("GET", "/limits", limits),
    Route("GET", "/os-quota-sets/{of}", show),
    Route("PUT", "/os-quota-sets/{of}", update),
    Route("DELETE", "/os-quota-sets/{of}", reset),
    Route("GET", "/os-quota-sets/{of}/defaults", defaults),
]
