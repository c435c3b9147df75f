"""The load balancer that operators are shown is the one that the lab and the tests run."""

from renova.lab.load_balancer import CONFIGURATION
from tests.docs.test_docs import ROOT, blocks


def test_the_configuration_of_haproxy_is_the_one_that_is_tried() -> None:
    [shown] = blocks(ROOT / "docs" / "operate.md", "haproxy")
    servers = "\n".join(f"    server controller{number} 10.1.0.{number}:8774" for number in (1, 2))
    assert shown == CONFIGURATION.format(address="0.0.0.0:8774", servers=servers)
