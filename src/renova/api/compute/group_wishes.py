"""The security groups that a new server's ports are to have, named by name or id as Nova takes them."""

from collections.abc import Iterable

import msgspec

from renova.model.errors import Conflict, Invalid
from renova.model.ids import ProjectId
from renova.partners.network import PortWish
from renova.store import security_groups
from renova.store.database import Tx
from renova.store.security_groups import DEFAULT, SecurityGroup


class GroupWishes(msgspec.Struct, frozen=True):
    """Names as the server shows them, and what its ports are given; a default group may have to be made first."""

    names: tuple[str, ...] = (DEFAULT,)
    ids: tuple[str, ...] = ()

    def of(self, wishes: Iterable[PortWish]) -> tuple[PortWish, ...]:
        """Return the wishes for ports with these groups; a port that is there already keeps its own."""
        return tuple(
            wish if wish.port is not None else msgspec.structs.replace(wish, security_groups=self.ids)
            for wish in wishes
        )


def wished(tx: Tx, project: ProjectId, named: Iterable[str]) -> GroupWishes:
    """Find the project's groups; `Invalid` for one that it does not have, `Conflict` for a name of several."""
    asked = tuple(dict.fromkeys(named))
    if not asked:
        return GroupWishes()
    own = security_groups.every_group(tx, project)
    found = dict(_found(own, project, name) for name in asked)
    return GroupWishes(tuple(dict.fromkeys(found.values())), tuple(found))


def _found(own: list[SecurityGroup], project: ProjectId, asked: str) -> tuple[str, str]:
    """Return the group's id and name; of a default group that nobody has made yet the name stands for the id, too."""
    matching = [each for each in own if each.id == asked] or [each for each in own if each.name == asked]
    if len(matching) > 1:
        raise Conflict(f"Multiple security groups found matching '{asked}'. Use an ID to be more specific.")
    if not matching and asked != DEFAULT:
        raise Invalid(f"Security group {asked} not found for project {project}.")
    return (matching[0].id, matching[0].name) if matching else (DEFAULT, DEFAULT)
