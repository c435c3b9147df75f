"""Bodies that a route would take: made from the shapes that its handler reads, and from what fields are called."""

import base64
import random
import re
import string
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from renova.api.http import Version
from tests.fuzz.known import Known, noun

SECRET = "s3cret-"  # what every password made here begins with, so that it can be looked for where none may be

_ADDRESSES = ("10.7.0.5", "10.7.0.77", "192.168.7.9", "fd00::7", "::1", "255.255.255.255")
_NETS = ("10.7.0.0/24", "10.8.0.0/24", "192.168.0.0/30", "fd00:7::/64", "10.9.0.0/16", "10.7.0.0/32", "0.0.0.0/0")
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3PqLpc0kvNn8mS5IpjIYB2bTbJiKd7bfdI3sbHFbUR someone@somewhere"
_WORDS = ("one", "two", "red", "box", "web", "grün", "名前", "a b", "x" * 40, "Ünï", "😀")

# What fields want that their types do not tell; by the field's name.
_VALUES: dict[str, tuple[Any, ...]] = {
    "accessIPv4": ("10.7.0.9", ""),
    "accessIPv6": ("fd00::9", ""),
    "ip_address": _ADDRESSES,
    "fixed_ip": _ADDRESSES,
    "gateway_ip": ("10.7.0.1", None, "10.8.0.1"),
    "cidr": _NETS,
    "remote_ip_prefix": _NETS,
    "ip_version": (4, 6),
    "mac_address": ("fa:16:3e:00:00:07", "FA:16:3E:00:00:08", "ff:ff:ff:ff:ff:ff"),
    "start": ("10.7.0.10", "10.7.0.20"),
    "end": ("10.7.0.30", "10.7.0.250"),
    "protocol": ("tcp", "udp", "icmp", 6, "any"),
    "ethertype": ("IPv4", "IPv6"),
    "direction": ("ingress", "egress"),
    "port_range_min": (1, 22, 80),
    "port_range_max": (80, 443, 65535),
    "device_owner": ("compute:nova", "network:dhcp", ""),
    "binding:vnic_type": ("normal", "direct"),
    "public_key": (_KEY,),
    "type": ("ssh", "HARD", "SOFT", "hard"),
    "user_data": (base64.b64encode(b"#!/bin/sh\n").decode(),),
    "contents": (base64.b64encode(b"content").decode(),),
    "path": ("/etc/motd", "/name", "/tags", "/min_disk", "/visibility", "/owner", "/hw_x", "/tags/-", "/tags/0"),
    "op": ("add", "replace", "remove"),
    "networks": ("auto", "none"),
    "boot_index": (0, -1, 1),
    "source_type": ("image", "volume", "blank", "snapshot"),
    "destination_type": ("local", "volume"),
    "volume_size": (1, 2),
    "size": (1, 2),
    "new_size": (2, 3),
    "min_count": (1, 2),
    "max_count": (1, 2, 3),
    "ram": (64, 128, 512),
    "vcpus": (1, 2),
    "disk": (1, 0),
    "swap": (0, 64),
    "OS-FLV-EXT-DATA:ephemeral": (0, 1),
    "rxtx_factor": (1.0, 2.0),
    "container_format": ("bare", None),
    "disk_format": ("raw", "qcow2", None),
    "visibility": ("private", "public", "community", "shared"),
    "min_disk": (0, 1),
    "min_ram": (0, 64),
    "methods": (["password"], ["token"]),
    "hostname": ("box-7", "box.example"),
    "binary": ("nova-compute",),
    "status": ("enabled", "disabled", "available", "error", "completed"),
    "state": ("active", "error"),
    "events": (),
    "name_of_event": (),
    "backup_type": ("daily",),
    "rotation": (0, 1, 2),
    "length": (0, 5, -1, None),
    "policies": (["affinity"], ["anti-affinity"], ["soft-affinity"]),
    "policy": ("affinity", "anti-affinity", "soft-anti-affinity"),
    "resource_class": ("VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_GOLD"),
    "traits": (["HW_CPU_X86_AVX"], ["CUSTOM_RED"], []),
    "resources": ({"VCPU": 1}, {"MEMORY_MB": 64, "VCPU": 1}, {"CUSTOM_GOLD": 1}),
    "resource_provider_generation": (0, 1, 2, 3, 4, 5, 6),
    "consumer_generation": (None, 0, 1),
    "consumer_type": ("INSTANCE", "MIGRATION", "OTHER"),
    "allocation_ratio": (1.0, 16.0),
    "total": (8, 1024),
    "reserved": (0, 1),
    "min_unit": (1,),
    "max_unit": (8, 1024),
    "step_size": (1,),
    "connector": ({"host": "host1", "initiator": "iqn.x", "ip": "10.1.0.1"},),
    "hours": (1, 0.5),
    "count": (1, 3),
    "availability_zone": ("nova",),
    "locked_reason": ("why not",),
    "enabled": (True,),
}


class Shapes:
    """Makes values that fit: of one random number generator, with what is known of the cloud."""

    def __init__(self, rng: random.Random, known: Known) -> None:
        self._rng = rng
        self._known = known
        self.secrets: list[str] = []  # passwords given away in what was made

    def body(self, shape: Any, version: Version) -> Any:
        """Return something that fits the shape at the version: often the least, seldom all that it knows."""
        return self._of(inspect.type_info(shape), "", version, self._rng.choice((0.0, 0.15, 0.15, 0.4, 0.8)))

    def value(self, name: str) -> Any:
        """Return something that fits what a parameter or field is called."""
        return self._of(inspect.type_info(str), name, (99, 0), 0.5)

    def generation(self) -> int:
        """Return a generation that a provider had."""
        return int(self._known.pick("generation", self._rng) or 0)

    def known(self, word: str) -> str:
        """Return an id of the noun, or one of nothing."""
        return self._known.pick(word, self._rng) or self.uuid()

    def word(self) -> str:
        return self._rng.choice(_WORDS) + self._rng.choice(string.ascii_lowercase)

    def secret(self) -> str:
        made = SECRET + "".join(self._rng.choices(string.ascii_letters, k=12))
        self.secrets.append(made)
        return made

    def _named(self, name: str) -> tuple[bool, Any]:
        """Return whether the name tells what is wanted, and it."""
        rng = self._rng
        if name.lower() in ("adminpass", "password", "original_password", "new_pass"):
            return True, self.secret()
        if name.endswith("generation") and rng.random() < 0.9:
            return True, self.generation()
        values = _VALUES.get(name)
        if values and rng.random() < 0.9:
            return True, rng.choice(values)
        if (found := self._known.pick(noun(name), rng)) is not None and name != "name" and rng.random() < 0.95:
            return True, found
        if name in ("uuid", "id", "source_id") and (found := self._any_of("network", "volume", "image")):
            return True, found
        return False, None

    def _any_of(self, *nouns: str) -> str | None:
        return self._known.pick(self._rng.choice(nouns), self._rng)

    def _of(self, info: Any, name: str, version: Version, more: float) -> Any:
        rng = self._rng
        if isinstance(info, inspect.Metadata):
            return self._of(info.type, name, version, more)
        if isinstance(info, inspect.StructType):
            return self._struct(info, version, more)
        if not isinstance(info, inspect.ListType | inspect.DictType):
            told, value = self._named(name)
            if told and _may_be(info, value):
                return value
        make: dict[type, Callable[[Any], Any]] = {
            inspect.UnionType: lambda it: self._of(rng.choice(it.types), name, version, more),
            inspect.LiteralType: lambda it: rng.choice(it.values),
            inspect.EnumType: lambda it: rng.choice([each.value for each in it.cls]),
            inspect.BoolType: lambda _: rng.random() < 0.5,
            inspect.NoneType: lambda _: None,
            inspect.IntType: self._int,
            inspect.FloatType: lambda it: float(self._int(it)),
            inspect.StrType: lambda it: self._str(it, name),
            inspect.ListType: lambda it: self._list(it, name, version, more),
            inspect.VarTupleType: lambda it: self._list(it, name, version, more),
            inspect.DictType: lambda it: self._dict(it, name, version, more),
            inspect.RawType: lambda _: self._any(0),
            inspect.AnyType: lambda _: self._any(0),
        }
        maker = make.get(type(info))
        return maker(info) if maker is not None else None

    def _struct(self, info: inspect.StructType, version: Version, more: float) -> dict[str, Any]:
        since: dict[str, Version] = getattr(info.cls, "SINCE", {})
        until: dict[str, Version] = getattr(info.cls, "UNTIL", {})
        made = {}
        one_of_all = len(info.fields) > 1 and not any(field.required for field in info.fields)
        sure = self._rng.choice(info.fields).name if one_of_all else None
        for field in info.fields:
            there = since.get(field.name, version) <= version <= until.get(field.name, version)
            if there and (field.required or field.name == sure or self._rng.random() < more):
                made[field.encode_name] = self._of(field.type, field.encode_name, version, more / 2)
        return made

    def _int(self, info: Any) -> int:
        low = next((each for each in (info.ge, info.gt) if each is not None), 0)
        high = next((each for each in (info.le, info.lt) if each is not None), low + 5)
        if info.gt is not None:
            low += 1
        return self._rng.randint(int(low), max(int(low), min(int(high), int(low) + 5)))

    def _str(self, info: Any, name: str) -> str:
        for _ in range(12):
            text = self._rng.choice((self.word, self.ascii, self._digits, self.uuid, self._upper))()
            if info.max_length is not None:
                text = text[: info.max_length]
            if info.pattern is None or re.search(info.pattern, text):
                return text
        return "1"

    def ascii(self) -> str:
        return "n" + "".join(self._rng.choices(string.ascii_lowercase + string.digits, k=self._rng.randint(0, 6)))

    def _upper(self) -> str:
        return "CUSTOM_" + "".join(self._rng.choices("ABC", k=2))

    def _digits(self) -> str:
        return str(self._rng.randint(0, 99))

    def uuid(self) -> str:
        digits = f"{self._rng.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def _list(self, info: Any, name: str, version: Version, more: float) -> list[Any]:
        least = info.min_length or 0
        most = min(info.max_length if info.max_length is not None else 3, least + 2)
        amount = max(least, self._rng.choice((0, 1, 1, 1, 2))) if most else 0
        return [self._of(info.item_type, name, version, more) for _ in range(min(amount, max(least, most)))]

    def _dict(self, info: Any, name: str, version: Version, more: float) -> dict[str, Any]:
        made = {}
        for _ in range(self._rng.choice((0, 1, 1, 2))):
            key = self._key(info, name)
            made[key] = self._of(info.value_type, "", version, more)
        return made

    def _key(self, info: Any, name: str) -> str:
        if name in ("allocations", "inventories", "resources") or not name:
            found = self._known.pick("provider" if name != "resources" else "resource_class", self._rng)
            if found is not None and self._rng.random() < 0.8:
                return found
        return str(self._of(info.key_type, "key", (99, 0), 0.0))

    def _any(self, depth: int) -> Any:
        rng = self._rng
        choice = rng.randrange(8 if depth < 2 else 6)
        if choice == 6:
            return [self._any(depth + 1) for _ in range(rng.randint(0, 2))]
        if choice == 7:
            return {self.ascii(): self._any(depth + 1) for _ in range(rng.randint(0, 2))}
        return (None, rng.random() < 0.5, rng.randint(-1, 9), self.word(), self.ascii(), self.uuid())[choice]


def _may_be(info: Any, value: Any) -> bool:
    """Say whether a value is of a type; what it must be beside that, the name of the field knows better."""
    if isinstance(info, inspect.UnionType):
        return any(_may_be(each, value) for each in info.types)
    if isinstance(info, inspect.Metadata):
        return _may_be(info.type, value)
    if isinstance(info, inspect.AnyType | inspect.RawType):
        return True
    if isinstance(info, inspect.LiteralType):
        return value in info.values
    kinds: dict[type, type | tuple[type, ...]] = {
        inspect.StrType: str,
        inspect.IntType: int,
        inspect.FloatType: (int, float),
        inspect.BoolType: bool,
        inspect.NoneType: type(None),
    }
    kind = kinds.get(type(info))
    return kind is not None and isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)


def encoded(body: Any) -> bytes:
    """Return the body as JSON."""
    return msgspec.json.encode(body)
