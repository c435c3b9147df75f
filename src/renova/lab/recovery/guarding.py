"""How the hosts of a cloud are guarded. It is settled when a cloud is made, so a campaign makes one for each way."""

from enum import StrEnum

from renova.lab.blueprint import Blueprint


class Guarding(StrEnum):
    """What stops a host's guests where its lease ends, and so what proves it dead; the values are for people."""

    NONE = "not armed, with a BMC"
    ARMED = "armed"
    WITNESSED = "armed, with a witness"

    @classmethod
    def of(cls, plan: Blueprint) -> "Guarding":
        if not plan.armed:
            return cls.NONE
        return cls.WITNESSED if plan.witness else cls.ARMED
