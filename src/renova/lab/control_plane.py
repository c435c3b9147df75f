"""All that controls a cloud of the lab: one controller with a file for its database; or several, with PostgreSQL and
a synchronous standby behind them, and a load balancer before them."""

from dataclasses import dataclass

from renova.lab.blueprint import Blueprint
from renova.lab.controller import LabController, answers
from renova.lab.home import Home
from renova.lab.load_balancer import LoadBalancer
from renova.lab.machines import Machines
from renova.lab.postgresql import programs
from renova.lab.replication import Pair


@dataclass(frozen=True)
class ControlPlane:
    """The control plane of the cloud in `home`; a new object means the same one."""

    home: Home
    blueprint: Blueprint
    machines: Machines

    @property
    def controllers(self) -> list[LabController]:
        """Its controllers, all equal."""
        return [
            LabController(self.home, self.blueprint, self.machines, name) for name in self.blueprint.controller_names
        ]

    @property
    def database(self) -> Pair:
        """The database of several controllers."""
        return Pair(self.home.postgresql, self.blueprint.database_ports, run=self.home.run, logs=self.home.logs)

    @property
    def load_balancer(self) -> LoadBalancer:
        return LoadBalancer(self.home, self.blueprint)

    @property
    def several(self) -> bool:
        return self.blueprint.controllers > 1

    def check(self) -> None:
        """Raise BadSetup when what it needs is not installed."""
        if self.several:
            programs()
            self.load_balancer.check()

    def up(self) -> bool:
        """Have everything running; say whether a controller was started."""
        if not self.several:
            return self.controllers[0].up("")
        database = self.database
        database.up()
        started = [controller.up(database.url()) for controller in self.controllers]
        self.load_balancer.up()
        return any(started)

    def down(self) -> None:
        """Stop everything, what asks before what answers."""
        if self.several:
            self.load_balancer.down()
        self.down_controllers()
        if self.several:
            self.database.down()

    def down_controllers(self) -> None:
        for controller in self.controllers:
            controller.down()

    def answers(self) -> bool:
        """Say whether the cloud's API answers."""
        return answers(self.blueprint.api_url)
