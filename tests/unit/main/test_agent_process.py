"""What keeps an agent from starting is told with the setting that has to be changed."""

import pytest

from renova.main.agent_process import nbd_ports
from renova.model.errors import BadSetup
from renova.settings import AgentSettings


def test_a_storage_host_serves_on_as_many_ports_as_it_is_told() -> None:
    assert nbd_ports(AgentSettings()) == range(10809, 11809)
    assert nbd_ports(AgentSettings(nbd_port=65535, nbd_ports=1)) == range(65535, 65536)
    with pytest.raises(BadSetup, match="nbd_ports"):
        nbd_ports(AgentSettings(nbd_port=65535, nbd_ports=2))
