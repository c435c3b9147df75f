"""Known failure mode A15: base images removed while overlays of a dead host's servers still need them."""

from renova.model.ids import ServerId
from renova.operations.delete import accept_delete
from renova.operations.rounds import Round
from renova.settings import ControllerSettings, DutyTimes
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from tests.operations.failing_hosts import dead_host_of
from tests.operations.story import Told, an_image, told_story

SETTINGS = ControllerSettings(
    lease=QUICK_LEASE, recovery=BY_HAND, brake=NO_BRAKE, duties=DutyTimes(images=0, image_grace=60)
)


async def clean(told: Told) -> Round:
    done: Round = await told.cloud.cloud.rounds.do("images")
    assert (done.error, done.failed) == (None, 0), done
    return done


def cached(told: Told, host: str = "host1") -> list[str]:
    return [str(image) for image in told.cloud.hosts[host].storage.cached()]


async def delete(told: Told, server: ServerId) -> None:
    await told.ask(accept_delete, server)
    await told.idle(server)


def test_a15_an_image_that_a_dead_hosts_server_needs_stays() -> None:
    async def story(told: Told) -> None:
        await told.created(image=an_image("one"))
        server = await told.get(await told.created(image=an_image("two")))
        home = await dead_host_of(told, server.id)
        await told.cloud.clock.sleep(120)
        # Even if the host that cleans sees no disk that is built on it.
        storage = told.cloud.hosts[home].storage
        storage.disks[server.id, server.root_generation].image = None
        assert (await clean(told)).mended == 0
        assert cached(told) == ["image-one", "image-two"]
        await told.cloud.power_on(home)
        await told.cloud.until(lambda: told.cloud.running(server.id) == [home])
        await told.idle(server.id)

    told_story(story, settings=SETTINGS, boot_s=0.0)


def test_an_image_that_no_server_needs_goes_after_its_grace() -> None:
    async def story(told: Told) -> None:
        await told.created(image=an_image("one"))
        server = await told.created(image=an_image("two"))
        await delete(told, server)
        assert (await clean(told)).mended == 0, "it was wanted just now"
        await told.cloud.clock.sleep(61)
        assert (await clean(told)).mended == 1
        assert cached(told) == ["image-one"]
        # And it comes back when it is wanted again.
        await told.created(image=an_image("two"))
        assert cached(told) == ["image-one", "image-two"]

    told_story(story, settings=SETTINGS)


def test_each_storage_keeps_what_its_own_servers_need() -> None:
    async def story(told: Told) -> None:
        one = await told.get(await told.created(image=an_image("one")))
        other = await told.get(await told.created(image=an_image("two")))
        assert one.host_name != other.host_name
        # The image that the other needs was here once, too.
        storage = told.cloud.hosts[one.host_name or ""].storage
        theirs = told.cloud.hosts[other.host_name or ""].storage
        storage._images |= theirs._images
        await told.cloud.clock.sleep(61)
        assert (await clean(told)).mended == 1
        assert (cached(told, one.host_name or ""), cached(told, other.host_name or "")) == (
            ["image-one"],
            ["image-two"],
        )

    told_story(story, settings=SETTINGS, count=2, shared=False)
