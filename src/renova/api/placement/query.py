"""Query parameters that say what is asked of providers: resources, traits, aggregates, as each version takes them."""

from renova.api.digits import whole
from renova.api.http import Call
from renova.api.placement.fields import uuid
from renova.api.placement.route import BadValue
from renova.model.errors import Invalid
from renova.model.provider import MOST
from renova.scheduling.candidates import Membership, Traits

FORBIDDEN_TRAITS = (1, 22)
FORBIDDEN_AGGREGATES = (1, 32)
SEVERAL_MEMBER_OF = (1, 24)
ANY_TRAITS = (1, 39)


def values(call: Call, name: str) -> list[str]:
    return [value for key, value in call.query if key == name]


def resources(text: str) -> dict[str, int]:
    """Read VCPU:2,MEMORY_MB:1024."""
    found: dict[str, int] = {}
    for each in text.split(","):
        name, colon, amount = each.partition(":")
        if not (name and colon):
            raise Invalid(
                "Badly formed resources parameter. Expected resources query string parameter in form: "
                f"?resources=VCPU:2,MEMORY_MB:1024. Got: {text or 'empty string'}."
            )
        number = whole(amount)
        if number is None or not 1 <= number <= MOST:
            raise Invalid(f"Requested resource {name} expected positive integer amount. Got: {amount}.")
        found[name] = number
    return found


def demand_classes(asked: dict[str, int], known: list[str]) -> None:
    if unknown := sorted(set(asked).difference(known)):
        raise Invalid(f"Invalid resource class in resources parameter: No such resource class {', '.join(unknown)}.")


def traits(call: Call, name: str) -> Traits:
    """Read HW_A,!HW_B (1.22), and in:HW_A,HW_B, which may come several times (1.39)."""
    given = values(call, name)
    if call.version < ANY_TRAITS:
        given = given[-1:]
    all_of: set[str] = set()
    none_of: set[str] = set()
    one_of_each: list[frozenset[str]] = []
    for text in given:
        if text.startswith("in:") and call.version >= ANY_TRAITS:
            names = [each.strip() for each in text[3:].split(",")]
            if not all(names) or any(each.startswith("!") for each in names):
                raise _bad_traits(call, name, text)
            one_of_each.append(frozenset(names))
            continue
        for each in (part.strip() for part in text.split(",")):
            forbidden = each.startswith("!")
            trait = each[1:] if forbidden else each
            if not trait or (forbidden and call.version < FORBIDDEN_TRAITS):
                raise _bad_traits(call, name, text)
            (none_of if forbidden else all_of).add(trait)
    if both := sorted(all_of & none_of):
        raise BadValue(
            f"Conflicting required and forbidden traits found in the following traits keys: {name}: ({', '.join(both)})"
        )
    return Traits(frozenset(all_of), tuple(one_of_each), frozenset(none_of))


def _bad_traits(call: Call, name: str, text: str) -> Invalid:
    form = "HW_CPU_X86_VMX,CUSTOM_MAGIC"
    if call.version >= FORBIDDEN_TRAITS:
        form = "HW_CPU_X86_VMX,!CUSTOM_MAGIC"
    if call.version >= ANY_TRAITS:
        form += ", or in:HW_CPU_X86_VMX,CUSTOM_MAGIC"
    return BadValue(
        f"Invalid query string parameters: Expected '{name}' parameter value of the form: {form}. Got: {text}"
    )


def demand_traits(asked: Traits, known: frozenset[str]) -> None:
    named = asked.all_of.union(asked.none_of, *asked.one_of_each)
    if unknown := sorted(named - known):
        raise Invalid(f"No such trait(s): {', '.join(unknown)}.")


def member_of(call: Call, name: str) -> Membership:
    """Read an aggregate's uuid, in:A,B, and !A or !in:A,B (1.32); it may come several times (1.24)."""
    given = values(call, name)
    if len(given) > 1 and call.version < SEVERAL_MEMBER_OF:
        raise Invalid(f"Multiple {name} parameters are not supported.")
    one_of_each: list[frozenset[str]] = []
    none_of: set[str] = set()
    for text in given:
        forbidden = text.startswith("!")
        if forbidden and call.version < FORBIDDEN_AGGREGATES:
            raise Invalid(f"Forbidden {name} parameters are not supported in the specified microversion.")
        rest = text[1:] if forbidden else text
        if "," in rest and not rest.startswith("in:"):
            raise Invalid(f"Multiple values for '{name}' must be prefixed with the 'in:' keyword. Got: {text}")
        if rest.startswith("in:") and call.version < (1, 3):
            raise Invalid(f"Invalid query string parameters: {name} {text}")
        named = rest.removeprefix("in:").split(",")
        ids = frozenset(uuid(each, f"Each aggregate of '{name}'") for each in named)
        if forbidden:
            none_of |= ids
        else:
            one_of_each.append(ids)
    return Membership(tuple(one_of_each), frozenset(none_of))
