"""What the places of other servers ask of a server's own: its group's policy, and hints that name servers.

Whoever claims a host reads those places in the claiming transaction (`operations.parts.needs`); whoever plans takes
them from its picture, in which it has moved what it planned before. Both come here, so both ask for the same.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from renova.model.group import GroupPolicy, ServerGroup
from renova.model.ids import HostId, ServerId
from renova.model.place import Place
from renova.scheduling.request import GroupPlaces


def group_places(
    group: ServerGroup,
    others: Sequence[Place],
    left: Set[HostId],
    name: Callable[[HostId], str],
    together: Callable[[Sequence[ServerId]], Mapping[str, int]],
) -> GroupPlaces:
    """Return what the group asks of one of its servers, of which `others` says where the rest are.

    `left` are hosts that servers leave: who is there binds nobody, and has to follow. `together` says what this server
    and those who have to follow it need in all.
    """
    binding = [(place.home, place) for place in others if place.home is not None and place.home not in left]
    company = [] if binding else [place.server for place in others if place.home in left]
    affinity = group.policy is GroupPolicy.AFFINITY
    return GroupPlaces(
        policy=group.policy,
        most=group.most_on_a_host,
        on=dict(Counter(host for place in others for host in place.hosts)),
        bound={home: name(home) for home, _place in binding},
        unsettled=affinity and bool(binding) and all(place.moving for _home, place in binding),
        company=dict(together(company)) if affinity and company else {},
    )


def hosts_of(places: Iterable[Place]) -> frozenset[HostId]:
    """Return the hosts of the servers that the hint different_host names."""
    return frozenset(host for place in places for host in place.hosts)


def beside(places: Sequence[Place] | None, left: Set[HostId]) -> frozenset[HostId] | None:
    """Return the hosts that the hint same_host leaves; None: all, as without the hint."""
    if places is None:
        return None
    homes = {place.home for place in places if place.home is not None}
    # All of them are on hosts that are being left: whoever goes first is bound to none, and the others follow.
    return None if homes and homes <= left else frozenset(homes - left)
