"""What keeps an agent from starting is told with the setting that has to be changed."""

from pathlib import Path

import pytest

from renova.main.agent_process import firmware_uuid, nbd_ports
from renova.model.errors import BadSetup
from renova.settings import AgentSettings


def test_a_storage_host_serves_on_as_many_ports_as_it_is_told() -> None:
    assert nbd_ports(AgentSettings()) == range(10809, 11809)
    assert nbd_ports(AgentSettings(nbd_port=65535, nbd_ports=1)) == range(65535, 65536)
    with pytest.raises(BadSetup, match="nbd_ports"):
        nbd_ports(AgentSettings(nbd_port=65535, nbd_ports=2))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("4C4C4544-0051-3610-8052-B4C04F4E3233\n", "4c4c4544-0051-3610-8052-b4c04f4e3233"),
        ("00000000-0000-0000-0000-000000000000\n", ""),
        ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n", ""),
        ("Not Settable\n", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_machine_is_known_by_what_its_firmware_tells_if_that_is_its_own(
    tmp_path: Path, content: str | None, told: str
) -> None:
    file = tmp_path / "product_uuid"
    if content is not None:
        file.write_text(content)
    assert firmware_uuid(file) == told
