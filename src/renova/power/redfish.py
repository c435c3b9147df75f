"""Power by a BMC that speaks Redfish, through the library sushy.

Each call signs in by HTTP Basic, which every Redfish service has: no session is left behind when a call is given up,
on a BMC that has room for a few.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import sushy
from sushy import auth as sushy_auth
from sushy import exceptions as sushy_errors

from renova.aside import Aside
from renova.model.errors import CloudError, Invalid, NotNow, Refused
from renova.model.power import Reading, Said

# What it has to say is in the errors that it raises, and told once.
logging.getLogger("sushy").setLevel(logging.CRITICAL)

T = TypeVar("T")

CONNECT_S = 3.0
ANSWER_S = 4.0  # for each request; BMCs are slow
LIMIT = 12.0  # for all requests of a call
OPTIONS = frozenset({"system", "verify"})

_READINGS = {sushy.PowerState.ON: Reading.ON, sushy.PowerState.OFF: Reading.OFF}


class RedfishSwitch:
    """One system of one BMC."""

    def __init__(
        self,
        address: str,
        username: str,
        options: Mapping[str, str],
        secrets: Mapping[str, str],
        aside: Aside,
        limit_s: float = LIMIT,
    ) -> None:
        """`Invalid` says which part cannot be."""
        if unknown := sorted(options.keys() - OPTIONS):
            raise Invalid(f"Redfish has no option {unknown[0]!r}: there are {', '.join(sorted(OPTIONS))}.")
        if other := sorted(secrets.keys() - {"password"}):
            raise Invalid(f"Redfish has no secret {other[0]!r} but its password.")
        verify = options.get("verify", "yes")
        self._verify: bool | str = {"yes": True, "no": False}.get(verify, verify)
        if isinstance(self._verify, str) and not self._verify.startswith("/"):
            raise Invalid("Option verify is yes, no, or the path of a file with authorities, on every controller.")
        self._address = _checked(address, plain=self._verify is False)
        self._system = options.get("system") or None
        if self._system is not None and not self._system.startswith("/"):
            raise Invalid("Option system is the path of a system, such as /redfish/v1/Systems/1.")
        self._username = username
        self._password = secrets.get("password", "")
        self._aside = aside
        self._limit_s = limit_s

    async def check(self) -> None:
        """Nothing more is to be checked than was when it was made."""

    async def read(self) -> Said:
        return await self._call(_read)

    async def switch_off(self) -> None:
        await self._call(partial(_reset, wanted=(sushy.ResetType.FORCE_OFF,)))

    async def switch_on(self) -> None:
        await self._call(partial(_reset, wanted=(sushy.ResetType.ON, sushy.ResetType.FORCE_ON)))

    async def _call(self, work: Callable[[Any], T]) -> T:
        return await self._aside.call(partial(self._speak, work), self._limit_s, f"the BMC at {self._address}")

    def _speak(self, work: Callable[[Any], T]) -> T:
        try:
            service = sushy.Sushy(
                self._address,
                auth=sushy_auth.BasicAuth(self._username, self._password),
                verify=self._verify,
                server_side_retries=1,  # and no more: who asks decides whether to ask again
                server_side_retries_delay=0,
                connect_timeout=CONNECT_S,
                read_timeout=ANSWER_S,
            )
            return work(service.get_system(self._system))
        except CloudError:
            raise
        except sushy_errors.AccessError as error:
            raise Refused(f"the BMC at {self._address} refuses user {self._username!r} or its password") from error
        except sushy_errors.UnknownDefaultError as error:
            raise Refused(f"the BMC at {self._address} has no or several systems: name one by option system") from error
        except sushy_errors.SushyError as error:
            raise NotNow(f"the BMC at {self._address}: {_brief(error)}") from error
        except Exception as error:  # whatever a BMC may say that the library does not expect
            raise NotNow(f"the BMC at {self._address} makes no sense ({error!r:.200})") from error


def _read(system: Any) -> Said:
    uuid = system.uuid if isinstance(system.uuid, str) else ""
    state = _READINGS.get(system.power_state, Reading.UNKNOWN)
    said = system.json.get("PowerState")
    return Said(state, uuid[:64], "" if state is not Reading.UNKNOWN else f"its power state is {said!r:.80}")


def _reset(system: Any, wanted: tuple[sushy.ResetType, ...]) -> None:
    allowed = system.get_allowed_reset_system_values()
    kind = next((kind for kind in wanted if kind in allowed), None)
    if kind is None:
        raise Refused(f"the BMC does not offer {wanted[0].value}")
    system.reset_system(kind)


def _checked(address: str, *, plain: bool) -> str:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("https", "http") and parts.hostname and (parts.port or 1) > 0
        usable = usable and not (parts.query or parts.fragment)
    except ValueError:  # a bracket without its other one, or a port that is none
        usable = False
    if not usable:
        raise Invalid("The address of a BMC looks like https://bmc7.example.")
    if parts.username is not None or parts.password is not None:
        raise Invalid("User and password do not belong into the address: it is shown.")
    if parts.scheme == "http" and not plain:
        raise Invalid("By http:// the password goes in the clear: use https://, or say verify=no.")
    return address.rstrip("/")


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
