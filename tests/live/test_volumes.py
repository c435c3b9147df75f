"""A real volume at a real guest: plugged in while it runs, kept over reboots, and taken along when its host dies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions as sdk

from tests.live.lab import Lab, running_lab
from tests.live.test_memory_and_images import create

pytestmark = [pytest.mark.live, pytest.mark.slow]

# A guest knows a volume by its serial: the first 20 characters of its id.
FIND = """
for disk in /sys/block/vd*; do
  if [ "$(cat $disk/serial 2>/dev/null)" = "{serial}" ]; then echo /dev/${{disk##*/}}; fi
done
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("volumes"), guest_image_path) as lab:
        yield lab


class Data:
    """A volume, as a guest sees it."""

    def __init__(self, lab: Lab, volume: str, address: str) -> None:
        self._lab, self._volume, self._address = lab, volume, address

    def disk(self) -> str:
        return self._lab.in_guest(self._address, FIND.format(serial=self._volume[:20]))

    def write(self, text: str) -> None:
        self._lab.in_guest(self._address, f"echo {text} | dd of={self.disk()} bs=512 count=1 conv=sync,fsync 2>&1")

    def read(self) -> str:
        return self._lab.in_guest(self._address, f"dd if={self.disk()} bs=512 count=1 2>/dev/null | tr -d '\\000 '")


def status(lab: Lab, volume: str) -> str:
    return str(lab.admin.block_storage.get_volume(volume).status)


def attachments(lab: Lab, volume: str) -> list[Any]:
    """List the volume's attachments, by the volume service."""
    answer = lab.admin.block_storage.get("/attachments/detail", microversion="3.27")
    sdk.raise_from_response(answer)
    return [each for each in answer.json()["attachments"] if each["volume_id"] == volume]


def reboot(lab: Lab, server: str, kind: str, boots: int) -> None:
    sdk.raise_from_response(lab.compute.post(f"/servers/{server}/action", json={"reboot": {"type": kind}}))
    lab.active(server)
    lab.boots(server, boots)


def test_a_volume_is_plugged_in_kept_and_taken_along(lab: Lab) -> None:
    server, address = create(lab, "with-data")
    lab.boots(server, 1)
    volume = str(lab.admin.block_storage.create_volume(name="data", size=1).id)
    lab.until(lambda: status(lab, volume) == "available", "the volume was not made")
    data = Data(lab, volume, address)
    lab.compute.create_volume_attachment(server, volume_id=volume)
    lab.until(lambda: status(lab, volume) == "in-use", "the volume was not attached")
    lab.until(lambda: data.disk() != "", "the guest does not see the volume")
    data.write("before")
    for number, kind in enumerate(("SOFT", "HARD"), start=2):
        reboot(lab, server, kind, number)
        lab.reachable(address)
        assert data.read() == "before", kind

    source = lab.host(server)
    (former,) = attachments(lab, volume)
    lab.cloud.kill(source)
    lab.until(lambda: next(lab.compute.services(host=source)).state == "down", f"{source} is not seen down")
    lab.evacuate(server)
    lab.active(server)
    assert lab.host(server) != source
    lab.boots(server, 4)
    lab.reachable(address)
    assert data.read() == "before"
    data.write("after")
    (now,) = attachments(lab, volume)
    assert now["id"] != former["id"]
    lab.mend()  # the dead host comes back, and cleans up
    lab.until(lambda: lab.migrations(server)[:1] == ["completed"], "the evacuation was not completed")
    assert lab.running_on(server) == [lab.host(server)]
    assert data.read() == "after"

    lab.compute.delete_volume_attachment(server, volume)
    lab.until(lambda: status(lab, volume) == "available", "the volume was not detached")
    assert data.disk() == ""
    lab.compute.delete_server(server)
    lab.until(lambda: lab.state(server) is None, "the server was not deleted")
