"""Resource providers: their names, trees, traits and aggregates; and the names of traits and resource classes.

Every change of a provider, of what it has and of what is held of it raises its generation, by which writers notice
one another; and is numbered, by which `store.picture` finds what has changed since it last looked.
"""

from collections.abc import Collection, Iterable

import msgspec
import os_resource_classes
import os_traits
from sqlalchemy import Column, String, Table, bindparam, delete, func, insert, select, update

from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import HostId
from renova.store.database import Tx
from renova.store.schema import Number, metadata

providers = Table(
    "providers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("generation", Number, nullable=False, default=0),
    Column("parent", String(36), index=True),
    Column("root", String(36), nullable=False, index=True),
    Column("changed", Number, nullable=False, index=True),
)

provider_traits = Table(
    "provider_traits",
    metadata,
    Column("provider", String(36), primary_key=True),
    Column("trait", String(255), primary_key=True, index=True),
)

provider_aggregates = Table(
    "provider_aggregates",
    metadata,
    Column("provider", String(36), primary_key=True),
    Column("aggregate", String(36), primary_key=True),
)

# One row: how many changes there were, and which of them last took a provider away.
provider_changes = Table(
    "provider_changes",
    metadata,
    Column("id", Number, primary_key=True),
    Column("number", Number, nullable=False),
    Column("removed", Number, nullable=False),
)

custom_names = Table(
    "custom_names",
    metadata,
    Column("kind", String(16), primary_key=True),  # trait, class
    Column("name", String(255), primary_key=True),
)

STANDARD_TRAITS = frozenset(os_traits.get_traits())
STANDARD_CLASSES = tuple(os_resource_classes.STANDARDS)
CUSTOM = "CUSTOM_"

# Made once: making a statement costs five times as much as running it.
_NEXT = (
    update(provider_changes)
    .where(provider_changes.c.id == 1)
    .values(number=provider_changes.c.number + 1)
    .returning(provider_changes.c.number)
)
_TOUCH = (
    update(providers)
    .where(providers.c.id == bindparam("provider"))
    .values(generation=providers.c.generation + 1, changed=bindparam("number"))
)
_NOTE = update(providers).where(providers.c.id == bindparam("provider")).values(changed=bindparam("number"))
_COLUMNS = (providers.c.id, providers.c.name, providers.c.generation, providers.c.parent, providers.c.root)
_BY_ID = select(*_COLUMNS).where(providers.c.id == bindparam("provider"))
_BY_NAME = select(*_COLUMNS).where(providers.c.name == bindparam("name"))
_ADD = insert(providers)
_EVERY = select(*_COLUMNS).order_by(providers.c.name)
_TRAITS_OF = select(provider_traits.c.trait).where(provider_traits.c.provider == bindparam("provider"))
_AGGREGATES_OF = select(provider_aggregates.c.aggregate).where(provider_aggregates.c.provider == bindparam("provider"))
_CUSTOM = select(custom_names.c.name).where(custom_names.c.kind == bindparam("kind"))


class Stale(Conflict):
    """It has changed since the writer read it: read it again, then decide again."""


class NameTaken(Conflict):
    """Another has this name, or id."""


class ProviderInUse(Conflict):
    """Something is held of the provider."""


class HasChildren(Conflict):
    """Other providers stand below this one."""


class Provider(msgspec.Struct, frozen=True):
    """A resource provider: a host, or what operators added."""

    id: HostId
    name: str
    generation: int
    parent: str | None = None
    root: str = ""


def next_change(tx: Tx) -> int:
    """Return the number of the change that is being made."""
    number = tx.execute(_NEXT).scalar()
    if number is None:
        tx.execute(insert(provider_changes).values(id=1, number=1, removed=0))
        return 1
    return int(number)


def touch(tx: Tx, provider: str) -> None:
    """Note that something of the provider has changed."""
    tx.execute(_TOUCH, {"provider": provider, "number": next_change(tx)})


def note(tx: Tx, provider: str) -> None:
    """Note that who keeps a picture should look at the provider again, for nothing that Placement shows of it."""
    tx.execute(_NOTE, {"provider": provider, "number": next_change(tx)})


def find(tx: Tx, provider: str) -> Provider | None:
    row = tx.execute(_BY_ID, {"provider": provider}).first()
    return Provider(*row) if row else None


def get(tx: Tx, provider: str) -> Provider:
    found = find(tx, provider)
    if found is None:
        raise NotFound(f"No resource provider with uuid {provider} found")
    return found


def every(tx: Tx) -> list[Provider]:
    return [Provider(*row) for row in tx.execute(_EVERY)]


def expect(tx: Tx, provider: str, generation: int | None) -> Provider:
    """Return the provider, if it is still of this generation (None: of any)."""
    found = get(tx, provider)
    if generation is not None and found.generation != generation:
        raise Stale(
            f"resource provider generation conflict: {provider} is at generation {found.generation}, not {generation}. "
            "Read it again before you change it."
        )
    return found


def add(tx: Tx, provider: str, name: str, parent: str | None = None) -> None:
    """Have a new provider, which has nothing yet."""
    if tx.execute(_BY_NAME, {"name": name}).first():
        raise NameTaken(f"Conflicting resource provider name: {name} already exists.")
    if find(tx, provider):
        raise NameTaken(f"Conflicting resource provider uuid: {provider} already exists.")
    above = _above(tx, provider, parent)
    root = above.root if above else provider
    number = next_change(tx)
    values = {"id": provider, "name": name, "generation": 0, "parent": parent, "root": root, "changed": number}
    tx.execute(_ADD, values)


def _above(tx: Tx, provider: str, parent: str | None) -> Provider | None:
    if parent is None:
        return None
    if parent == provider:
        raise Invalid("parent provider UUID cannot be same as UUID. Name another parent, or null.")
    found = find(tx, parent)
    if found is None:
        raise Invalid(f"parent provider UUID {parent} does not exist.")
    return found


def change(tx: Tx, provider: str, name: str, parent: str | None) -> None:
    """Have the provider of this name, with all below it, below this parent."""
    old = get(tx, provider)
    taken = select(providers.c.id).where(providers.c.name == name, providers.c.id != provider)
    if tx.execute(taken).first():
        raise NameTaken(f"Conflicting resource provider name: {name} already exists.")
    above = _above(tx, provider, parent)
    below = _below(tx, old)
    if above is not None and above.id in below:
        raise Invalid(f"parent provider {parent} stands below {provider} itself: this would be a loop.")
    tx.execute(update(providers).where(providers.c.id == provider).values(name=name, parent=parent))
    root = above.root if above else provider
    for each in below:
        tx.execute(update(providers).where(providers.c.id == each).values(root=root, changed=next_change(tx)))


def _below(tx: Tx, top: Provider) -> set[str]:
    """Return the provider and all that stand below it."""
    rows = tx.execute(select(providers.c.id, providers.c.parent).where(providers.c.root == top.root)).all()
    found: set[str] = {top.id}
    while more := {row.id for row in rows if row.parent in found} - found:
        found |= more
    return found


def remove(tx: Tx, provider: str) -> None:
    """Take the provider away with its traits and aggregates; `placement.removal` sees to what it has."""
    if tx.execute(select(providers.c.id).where(providers.c.parent == provider)).first():
        raise HasChildren(
            f"Unable to delete parent resource provider {provider}: It has child resource providers. "
            "Delete these first."
        )
    for table in (provider_traits, provider_aggregates):
        tx.execute(delete(table).where(table.c.provider == provider))
    tx.execute(delete(providers).where(providers.c.id == provider))
    number = next_change(tx)
    tx.execute(update(provider_changes).values(removed=number))


def traits_of(tx: Tx, provider: str) -> set[str]:
    return set(tx.execute(_TRAITS_OF, {"provider": provider}).scalars())


def set_traits(tx: Tx, provider: str, traits: Collection[str]) -> None:
    """Have the provider show exactly these traits, which must be known."""
    if unknown := sorted(set(traits) - known_traits(tx)):
        raise Invalid(f"No such trait {', '.join(unknown)}. Create custom traits with PUT /traits/CUSTOM_... first.")
    if _replace(tx, provider_traits.c.trait, provider, traits_of(tx, provider), set(traits)):
        touch(tx, provider)


def aggregates_of(tx: Tx, provider: str) -> set[str]:
    return set(tx.execute(_AGGREGATES_OF, {"provider": provider}).scalars())


def set_aggregates(tx: Tx, provider: str, aggregates: Iterable[str], *, raised: bool = True) -> None:
    """Have the provider in exactly these aggregates; its generation is raised, unless told not to."""
    if _replace(tx, provider_aggregates.c.aggregate, provider, aggregates_of(tx, provider), set(aggregates)):
        (touch if raised else note)(tx, provider)


def join(tx: Tx, provider: str, aggregate: str) -> None:
    """Have the provider in this aggregate, too; one that is not there yet is left alone."""
    known = aggregates_of(tx, provider)
    if aggregate not in known and find(tx, provider) is not None:
        set_aggregates(tx, provider, known | {aggregate})


def leave(tx: Tx, provider: str, aggregate: str) -> None:
    """Have the provider no longer in this aggregate."""
    set_aggregates(tx, provider, aggregates_of(tx, provider) - {aggregate})


def _replace(tx: Tx, column: Column[str], provider: str, known: set[str], wanted: set[str]) -> bool:
    table = column.table
    if known == wanted:
        return False
    if gone := known - wanted:
        tx.execute(delete(table).where(table.c.provider == provider, column.in_(gone)))
    if new := wanted - known:
        tx.execute(insert(table), [{"provider": provider, column.name: name} for name in sorted(new)])
    return True


def _custom(tx: Tx, kind: str) -> set[str]:
    return set(tx.execute(_CUSTOM, {"kind": kind}).scalars())


def _create(tx: Tx, kind: str, name: str) -> bool:
    if name in _custom(tx, kind):
        return False
    tx.execute(insert(custom_names).values(kind=kind, name=name))
    return True


def _drop(tx: Tx, kind: str, name: str) -> None:
    tx.execute(delete(custom_names).where(custom_names.c.kind == kind, custom_names.c.name == name))


def known_traits(tx: Tx) -> frozenset[str]:
    return STANDARD_TRAITS | _custom(tx, "trait")


def used_traits(tx: Tx) -> set[str]:
    """Return the traits that some provider shows."""
    return set(tx.execute(select(provider_traits.c.trait).distinct()).scalars())


def create_trait(tx: Tx, name: str) -> bool:
    """Have a custom trait of this name; says whether it is new."""
    return _create(tx, "trait", name)


def delete_trait(tx: Tx, name: str) -> None:
    if name in STANDARD_TRAITS:
        raise Invalid(f"Cannot delete standard trait {name}. Only custom traits can be deleted.")
    if name not in _custom(tx, "trait"):
        raise NotFound(f"No such trait {name}.")
    if tx.execute(select(func.count()).where(provider_traits.c.trait == name)).scalar():
        raise Conflict(f"The trait {name} is in use by a resource provider. Take it from its providers first.")
    _drop(tx, "trait", name)


def known_classes(tx: Tx) -> list[str]:
    """List the resource classes: the standard ones, then those of operators."""
    return [*STANDARD_CLASSES, *sorted(_custom(tx, "class"))]


def create_class(tx: Tx, name: str) -> bool:
    """Have a custom resource class of this name; says whether it is new."""
    return _create(tx, "class", name)


def delete_class(tx: Tx, name: str) -> None:
    """Forget a custom resource class; `store.placement` has seen to it that nobody has anything of it."""
    if name in STANDARD_CLASSES:
        raise Invalid(f"Cannot delete standard resource class {name}. Only custom classes can be deleted.")
    if name not in _custom(tx, "class"):
        raise NotFound(f"No such resource class {name}.")
    _drop(tx, "class", name)
