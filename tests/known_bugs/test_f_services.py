"""Known failure modes F1 to F6: services and periodic jobs (docs/known-bugs.md)."""

import pytest

from renova.store import migrations
from tests.known_bugs.test_c_allocations_ports_volumes import change, do
from tests.operations.story import Told
from tests.operations.test_failures import told_story


@pytest.mark.parametrize(("status", "after"), [("accepted", "error"), ("pre-migrating", "failed")])
def test_f6_a_record_that_nobody_works_on_is_closed(status: str, after: str) -> None:
    async def story(told: Told) -> None:
        server = await told.get(await told.created())
        source = server.host
        assert source is not None
        made = await change(
            told,
            lambda tx: migrations.add(
                tx,
                uuid=told.cloud.chance.uuid(),
                server=server.id,
                type="evacuation",
                status=status,
                source=source,
                source_name=server.host_name,
                user=server.user,
                project=server.project,
            ),
        )
        assert (await do(told, "evacuations")).mended == 1
        record = await told.cloud.database.read(lambda tx: migrations.get(tx, made))
        assert record is not None
        assert record.status == after

    told_story(story)
