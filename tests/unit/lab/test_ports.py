"""Who asks for ports gets such as nobody else was given, though nobody listens there yet."""

import pytest

from renova.lab import ports


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_FIRST", 31_000)
    monkeypatch.setattr(ports, "_LAST", 31_040)
    given = [*ports.free_ports(5), *ports.free_ports(5)]
    first = ports.two_in_a_row()
    given += [first, first + 1]
    assert len(set(given)) == len(given)
