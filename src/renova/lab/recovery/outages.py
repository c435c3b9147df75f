"""All that controls the cloud is away for some minutes: what the guests on its hosts see of that."""

import time
from itertools import pairwise

import msgspec

from renova.drivers.guard.process import stands_still
from renova.lab.cloud import LabCloud
from renova.lab.progress import Teller
from renova.lab.recovery.guarding import Guarding
from renova.lab.recovery.lives import Lives
from renova.lab.recovery.servers import Servers
from renova.lab.watch import Watch

AGAIN_S = 30.0  # within which guests that stood still go on, once there are controllers
SILENCE_S = 20.0  # for which a guest that runs may say nothing: it is one of many on a busy machine


class Outage(msgspec.Struct, frozen=True):
    """An outage of controllers and database, and what became of the guests meanwhile. Seconds."""

    guarding: Guarding
    lasted_s: float
    longest_still_s: float  # no guest stood still for longer, by its own word
    shortest_still_s: float  # and each did for so long, once
    stopped: int  # guests that were stopped, seen from outside, at any moment
    again_s: float  # from when controllers were back until the last guest spoke
    wrong: list[str]


class Voices(Watch):
    """Hears when each guest says another second, and sees which of their processes the kernel holds."""

    pause_s = 0.25

    def __init__(self, servers: Servers, lives: Lives) -> None:
        super().__init__("voices")
        self._servers = servers
        self._lives = lives
        self._last = servers.seconds()
        self.heard: dict[str, list[float]] = {server: [time.monotonic()] for server in self._last}
        self.stopped: set[str] = set()

    def look(self) -> None:
        now = time.monotonic()
        for server, second in self._servers.seconds().items():
            if second != self._last[server]:
                self._last[server] = second
                self.heard[server].append(now)
            for life in self._lives.of_now(server):
                # As a guard looks: the freezer is often there before the signal has stopped a process.
                if stands_still(life.pid, confirmed=False):
                    self.stopped.add(server)

    def longest(self, server: str) -> float:
        """Return the longest time for which the server's guest said nothing."""
        return max(later - earlier for earlier, later in pairwise([*self.heard[server], time.monotonic()]))

    def all_heard_since(self, moment: float) -> bool:
        return all(times[-1] > moment for times in self.heard.values())


def outage(cloud: LabCloud, servers: Servers, lives: Lives, teller: Teller, seconds: float) -> Outage:
    """Stop controllers and database for so long, and have them back. All servers are up."""
    before = {server: [life.pid for life in lives.of_now(server)] for server in servers.ids.values()}
    boots = servers.boots()
    voices = Voices(servers, lives)
    voices.start()
    with teller.stage(f"no controller and no database for {seconds:g} s") as stage:
        began = time.monotonic()
        cloud.control.down()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        stage.done(f"no controller and no database for {seconds:g} s")
    back = time.monotonic()
    cloud.up(teller)
    answers = time.monotonic()
    with teller.stage("listening to the guests") as stage:
        servers.until(lambda: voices.all_heard_since(answers), "not every guest goes on")
        again_s = time.monotonic() - answers
        stage.done("every guest is heard")
    servers.become("ACTIVE")
    voices.stop()
    still = [voices.longest(server) for server in servers.ids.values()]
    wrong = []
    for name, server in servers.ids.items():
        if [life.pid for life in lives.of_now(server)] != before[server] or servers.boots()[server] != boots[server]:
            wrong.append(f"the guest of {name} is not the one that it was")
    guarding = Guarding.of(cloud.plan)
    if guarding is Guarding.ARMED:
        if voices.stopped != set(servers.ids.values()) or min(still) < seconds / 2:
            wrong.append("not every guest stood still, though its host had no lease")
        if again_s > AGAIN_S:
            wrong.append(f"guests went on {again_s:.1f} s after the controllers: {AGAIN_S:g} s are allowed")
    elif voices.stopped or max(still) > SILENCE_S:
        wrong.append(f"guests stood still, for {max(still):.1f} s, though no lease stops them: {len(voices.stopped)}")
    return Outage(
        guarding=guarding,
        lasted_s=round(back - began, 1),
        longest_still_s=round(max(still), 1),
        shortest_still_s=round(min(still), 1),
        stopped=len(voices.stopped),
        again_s=round(again_s, 1),
        wrong=wrong,
    )
