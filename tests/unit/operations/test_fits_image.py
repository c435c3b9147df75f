"""Before a rebuild is accepted: whether the server's own host may run the new image. Nothing else of it matters."""

from dataclasses import replace as with_parts
from typing import Any

import msgspec
import pytest

from renova.model.ids import HostId
from renova.operations.parts.fits_image import fits_image
from renova.settings import ControllerSettings, SchedulerSettings
from renova.store import aggregates, hosts, servers
from renova.store.database import Tx
from renova.store.placement import allocations, claims
from tests.operations.story import an_image
from tests.unit.store.tables import ONE, PROJECT, USER, A, add_server

from .small_cloud import SmallCloud


def reason(small: SmallCloud, host: HostId | None = A, **properties: Any) -> str | None:
    small.have_host(A)
    small.tables.do(lambda tx: add_server(tx, ONE, host=host))
    image = an_image("new", properties=properties)

    def work(tx: Tx) -> str | None:
        server = servers.get(tx, ONE)
        assert server is not None
        return fits_image(small.cloud, tx, server, image)

    return small.tables.do(work)


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({}, None),
        ({"hw_architecture": "x86_64", "img_hv_type": "qemu", "hw_vm_mode": "hvm"}, None),
        ({"hw_architecture": "aarch64"}, "cannot run aarch64"),
        ({"img_hv_type": "xen"}, "cannot run guests of xen"),
        ({"hw_vm_mode": "xen"}, "cannot run vm mode xen"),
        ({"trait:CUSTOM_GOLD": "required"}, "lacks the trait CUSTOM_GOLD"),
    ],
)
def test_an_image_that_the_host_cannot_run_is_refused(
    small: SmallCloud, properties: dict[str, Any], why: str | None
) -> None:
    expected = f"its host will not do for image image-new: {why}" if why else None
    assert reason(small, **properties) == expected


def test_an_image_that_requires_what_the_flavor_forbids_is_refused(small: SmallCloud) -> None:
    assert reason(small) is None

    def work(tx: Tx) -> str | None:
        server = servers.get(tx, ONE)
        assert server is not None
        picky = msgspec.structs.replace(server.flavor, extra_specs={"trait:CUSTOM_GOLD": "forbidden"})
        image = an_image("new", properties={"trait:CUSTOM_GOLD": "required"})
        return fits_image(small.cloud, tx, msgspec.structs.replace(server, flavor=picky), image)

    assert "requires the trait CUSTOM_GOLD, which the server's flavor forbids" in (small.tables.do(work) or "")


def test_what_the_hosts_aggregate_says_of_images_counts(small: SmallCloud) -> None:
    def work(tx: Tx) -> None:
        made = aggregates.add(tx, "uuid", "rack", {"os_distro": "debian"})
        aggregates.add_host(tx, made, A)

    small.tables.do(work)
    assert "kept for images of another os_distro" in (reason(small, os_distro="windows") or "")


def test_isolated_images_stay_on_isolated_hosts(small: SmallCloud) -> None:
    scheduler = SchedulerSettings(isolated_hosts=("other",), isolated_images=("image-new",))
    small.cloud = with_parts(small.cloud, settings=ControllerSettings(scheduler=scheduler))
    assert "not isolated, as its image must be" in (reason(small) or "")


@pytest.mark.parametrize("change", [{"disabled": True}, {"forced_down": True}], ids=str)
def test_a_host_that_gets_no_new_servers_keeps_what_it_has(small: SmallCloud, change: dict[str, Any]) -> None:
    assert reason(small) is None
    small.tables.do(lambda tx: hosts.change(tx, A, **change))

    def again(tx: Tx) -> str | None:
        server = servers.get(tx, ONE)
        assert server is not None
        return fits_image(small.cloud, tx, server, an_image("new"))

    assert small.tables.do(again) is None


def test_a_full_host_claims_nothing_for_a_rebuild(small: SmallCloud) -> None:
    assert reason(small) is None
    small.tables.do(lambda tx: claims.claim(tx, ONE, PROJECT, USER, A, {"VCPU": 8}))
    before = small.tables.do(lambda tx: allocations.held(tx, ONE))

    def again(tx: Tx) -> str | None:
        server = servers.get(tx, ONE)
        assert server is not None
        huge = msgspec.structs.replace(server.flavor, vcpus=8)
        return fits_image(small.cloud, tx, msgspec.structs.replace(server, flavor=huge), an_image("new"))

    assert small.tables.do(again) is None
    assert small.tables.do(lambda tx: allocations.held(tx, ONE)) == before


def test_a_server_without_a_host_may_have_any_image(small: SmallCloud) -> None:
    assert reason(small, None, hw_architecture="aarch64") is None
