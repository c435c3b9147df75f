"""How many volumes, snapshots and GiB a project may have; asked inside the transaction that takes them."""

from renova.model.ids import ProjectId
from renova.store import volume_quotas, volume_snapshots, volumes
from renova.store.database import Tx


def usage(tx: Tx, project: ProjectId) -> dict[str, int]:
    count, size = volumes.usage(tx, project)
    taken, kept = volume_snapshots.usage(tx, project)
    return {"volumes": count, "snapshots": taken, "gigabytes": size + kept}


def exceeded(tx: Tx, project: ProjectId, size_gb: int, what: str | None, *, of_gb: int = 0) -> str | None:
    """Say why the project may not have another volume or snapshot (`what`) and so many GiB more; None: it may.

    `of_gb`: how large the volume is already that is to be so much larger.
    """
    limits, used = volume_quotas.of_project(tx, project), usage(tx, project)
    if 0 <= limits["per_volume_gigabytes"] < of_gb + size_gb:
        return f"Requested volume is larger than the {limits['per_volume_gigabytes']}G that one may have."
    if what is not None and 0 <= limits[what] < used[what] + 1:
        return f"Maximum number of {what} allowed ({limits[what]}) exceeded for quota '{what}'."
    if 0 <= limits["gigabytes"] < used["gigabytes"] + size_gb:
        return (
            f"Requested volume or snapshot exceeds allowed gigabytes quota. Requested {size_gb}G, quota is "
            f"{limits['gigabytes']}G and {used['gigabytes']}G has been consumed."
        )
    return None
