"""What is wished for a server when its host dies: read from its metadata, flavor and image, and its host's aggregates.

Pure; asked by whoever makes the picture that is planned from. Beside Renova's own words (`renova:…`) those of Masakari
(`HA_Enabled` in a server's metadata) and of InstanceHA (`evacuable` on flavor, image or aggregate, and
`instanceha:restart_priority` in metadata) are understood. The word that is nearest to the server counts.
"""

from collections.abc import Iterator, Mapping, Set
from enum import StrEnum

import msgspec

from renova.model.host import HostView
from renova.model.ids import ServerId
from renova.model.server import Server

RECOVERY, PRIORITY, AFTER = "renova:recovery", "renova:priority", "renova:after"
MASAKARI = "HA_Enabled"
INSTANCE_HA, INSTANCE_HA_PRIORITY = "evacuable", "instanceha:restart_priority"

LEAST, USUAL, MOST = 1, 500, 1000  # InstanceHA's scale; higher goes first
PREFERRED = 600  # of those whom Masakari, too, takes before the others: HA_Enabled

# oslo.utils' words, by which Masakari reads its own.
_YES = frozenset({"1", "t", "true", "on", "y", "yes"})
_NO = frozenset({"0", "f", "false", "off", "n", "no"})


class Policy(StrEnum):
    """What becomes of a server when its host dies."""

    RECOVER = "recover"  # another host brings it up
    LEAVE = "leave"  # nothing is done: it waits for its host
    STOP = "stop"  # no other host brings it up, and its own does not start it when it returns


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What is wished for one server."""

    policy: Policy = Policy.RECOVER
    said_by: str = "by default"  # who says the policy, for people
    priority: int = USUAL  # 1 to 1000, the highest first
    after: tuple[ServerId, ...] = ()  # servers that are to be up before this one starts
    unread: tuple[str, ...] = ()  # words that mean nothing; they count as not said


def wishes(
    metadata: Mapping[str, str],
    extra_specs: Mapping[str, str],
    image_properties: Mapping[str, str],
    marks: Mapping[str, Set[str]],
    default: Policy = Policy.RECOVER,
) -> Wishes:
    """Read the wishes. `marks` is the metadata of the aggregates of the host that dies, by key all its values."""
    said: list[tuple[Policy, str]] = []
    unread: list[str] = []
    for where, key, text in _policies(metadata, extra_specs, image_properties, marks):
        policy = _policy(key, text)
        if policy is None:
            unread.append(f"{key}={text} ({where})")
        else:
            said.append((policy, f"{key}={text} ({where})"))
    numbers: list[int] = []
    for said_so, text in _priorities(metadata, extra_specs):
        number = _number(text)
        if number is None:
            unread.append(said_so)
        else:
            numbers.append(number)
    preferred = metadata.get(MASAKARI, "").strip().lower() in _YES
    policy, said_by = next(iter(said), (default, "by default"))
    return Wishes(
        policy=policy,
        said_by=said_by,
        priority=next(iter(numbers), PREFERRED if preferred else USUAL),
        after=tuple(
            dict.fromkeys(ServerId(each.lower()) for each in metadata.get(AFTER, "").replace(",", " ").split())
        ),
        unread=tuple(unread),
    )


def wishes_for(server: Server, host: HostView | None, default: Policy) -> Wishes:
    """Read the wishes for a server on this host; None: it is on none that is known."""
    marks = host.marks if host else {}
    return wishes(server.metadata, server.flavor.extra_specs, server.image_properties, marks, default)


def _policies(
    metadata: Mapping[str, str],
    extra_specs: Mapping[str, str],
    image_properties: Mapping[str, str],
    marks: Mapping[str, Set[str]],
) -> Iterator[tuple[str, str, str]]:
    """Give who says what about recovery, the nearest to the server first."""
    for where, key, said in (
        ("metadata", RECOVERY, metadata),
        ("metadata", MASAKARI, metadata),
        ("flavor", RECOVERY, extra_specs),
        ("flavor", INSTANCE_HA, extra_specs),
        ("image", INSTANCE_HA, image_properties),
    ):
        if key in said:
            yield where, key, str(said[key])
    for text in sorted(marks.get(INSTANCE_HA, ()), reverse=True):  # "true" before "false": one aggregate is enough
        yield "aggregate", INSTANCE_HA, text


def _policy(key: str, text: str) -> Policy | None:
    word = text.strip().lower()
    if key == RECOVERY:
        return Policy(word) if word in set(Policy) else None
    return Policy.RECOVER if word in _YES else Policy.LEAVE if word in _NO else None


def _priorities(metadata: Mapping[str, str], extra_specs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for where, key, said in (
        ("metadata", PRIORITY, metadata),
        ("metadata", INSTANCE_HA_PRIORITY, metadata),
        ("flavor", PRIORITY, extra_specs),
    ):
        if key in said:
            yield f"{key}={said[key]} ({where})", said[key]


def _number(text: str) -> int | None:
    """Return the priority, brought into its range as InstanceHA does; None for what is no whole number."""
    word = text.strip()
    return min(max(int(word), LEAST), MOST) if word.isdecimal() and len(word) < 10 else None
