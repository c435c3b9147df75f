"""What the fuzzer has learnt of the cloud: ids and names out of its answers, by the noun that they stand for."""

import random
from collections import deque
from typing import Any

NEWEST = 12  # of each noun are kept: what was made lately is what is still there

# Answers and requests call the same thing by several names.
_NOUNS = {
    "instance": "server",
    "instance_uuid": "server",
    "server_uuid": "server",
    "consumer": "server",
    "device": "server",
    "security_group": "group",
    "security_group_rule": "rule",
    "resource_provider": "provider",
    "volume_type": "type",
    "tenant": "project",
    "of": "project",
    "default_project": "project",
    "net": "network",
    "parent_provider": "provider",
    "block_storage_backend": "host",
    "remote_group": "group",
    "source_volid": "volume",
    "source_vol": "volume",
    "snap": "snapshot",
    "instance_action": "request",
    "hypervisor_hostname": "host",
    "node": "host",
    "host_name": "host",
    "binding:host": "host",
    "image_ref": "image",
    "flavor_ref": "flavor",
    "key_name": "keypair",
    "availability_zone": "zone",
}


# Whose values are worth keeping though nothing is about them; and what they stand for, if their names do not say it.
_TELLING = {
    **dict.fromkeys(("request_id", "attachment_id", "hypervisor_hostname", "zoneName", "port_id", "net_id"), ""),
    **{"notification_uuid": "", "failover_segment_id": "segment"},
}


def noun(word: str) -> str:
    """Return what a field, parameter or part of an answer is about: `flavorRef`, `flavor_id` and `flavors` are one."""
    text = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in word).replace("-", "_")
    text = text.removeprefix("os_").rpartition("os:")[2]
    for ending in ("_id", "_uuid", "_ref", "_ids"):
        text = text.removesuffix(ending)
    if text in _NOUNS:
        return _NOUNS[text]
    if text.endswith("ies"):
        text = f"{text[:-3]}y"
    elif text.endswith("s") and not text.endswith(("ss", "us")):
        text = text[:-1]
    return _NOUNS.get(text, text)


class Known:
    """Ids and names seen, the newest of each noun."""

    def __init__(self) -> None:
        self._of: dict[str, deque[str]] = {}

    def add(self, of: str, value: str) -> None:
        kept = self._of.setdefault(of, deque(maxlen=NEWEST))
        if value in kept:
            kept.remove(value)
        kept.append(value)

    def of(self, of: str) -> list[str]:
        return list(self._of.get(of, ()))

    def pick(self, of: str, rng: random.Random) -> str | None:
        """Return one of the noun, rather one of the newest."""
        kept = self._of.get(of)
        if not kept:
            return None
        return kept[max(rng.randrange(len(kept)), rng.randrange(len(kept)))]

    def any(self, rng: random.Random) -> str | None:
        """Return an id of any noun."""
        nouns = sorted(self._of)
        return self.pick(rng.choice(nouns), rng) if nouns else None

    def learn(self, answer: Any, api: str, of: str = "", depth: int = 0) -> None:
        """Take in every id and name of an answer of the API; a noun may stand for other things in another one."""
        if depth > 6:
            return
        if isinstance(answer, list):
            for each in answer[-40:]:
                if isinstance(each, str) and of in ("tag", "trait"):
                    self.add(of, each)
                self.learn(each, api, of, depth + 1)
        elif isinstance(answer, dict):
            for name in ("id", "uuid"):
                if of not in ("", "host") and isinstance(answer.get(name), str | int) and answer[name] is not True:
                    self.add(of, str(answer[name]))
                    self.add(f"{api} {of}", str(answer[name]))
            if of in ("metadata", "extra_spec", "meta"):
                for key in answer:
                    self.add("key", key)
            if of in ("keypair", "host", "trait", "resource_class", "duty") and isinstance(answer.get("name"), str):
                self.add(of, answer["name"])
            for key, value in answer.items():
                if isinstance(value, dict | list):
                    self.learn(value, api, noun(key), depth + 1)
                elif key.endswith("generation") and isinstance(value, int):
                    self.add("generation", str(value))
                elif key in _TELLING:
                    self.add(_TELLING[key] or noun(key), str(value))
            if "failover_segment_id" in answer:
                self.add("segment_host", str(answer.get("uuid")))
