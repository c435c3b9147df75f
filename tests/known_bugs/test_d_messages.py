"""Row D12: controllers and hosts of neighbouring releases understand each other while an upgrade is under way."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from renova.wire import frames
from renova.wire.acts import Act, Define, Prepare, Start
from renova.wire.commands import Command, Order
from tests.agent.host import guest

ORDER = Order(era=1, host_epoch=1, session="s", server=guest().server, incarnation=1, number=1, epoch=1)


def sent(act: Act, change: Callable[[dict[str, Any]], dict[str, Any]]) -> frames.FromController:
    """Have a command arrive as another release would have written it."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return change({name: changed(each) for name, each in value.items()})
        return [changed(each) for each in value] if isinstance(value, list | tuple) else value

    plain = msgspec.msgpack.decode(frames.encode(Command(id=1, order=ORDER, act=act)))  # type: ignore[arg-type]
    return frames.decode_from_controller(msgspec.msgpack.encode(changed(plain)))


@pytest.mark.parametrize("act", [Prepare(guest()), Start(guest()), Define(guest())])
def test_d12_what_a_newer_release_adds_is_passed_over(act: Act) -> None:
    def added(fields: dict[str, Any]) -> dict[str, Any]:
        return fields | {"of_the_next_release": [1]} if fields else fields  # an empty one is a user's own mapping

    assert sent(act, added) == Command(id=1, order=ORDER, act=act)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("act", "added"), [(Prepare(guest()), "must_exist"), (Start(guest()), "resume"), (Start(guest()), "volumes")]
)
def test_d12_what_an_older_release_did_not_send_has_its_default(act: Act, added: str) -> None:
    heard = sent(act, lambda fields: {name: value for name, value in fields.items() if name != added})
    assert heard == Command(id=1, order=ORDER, act=act)  # type: ignore[arg-type]
