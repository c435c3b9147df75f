"""Every command that the documents show is run, in their order, on simulated hosts; and it shows what they say.

A command stands after `$ ` in a block of the language console; what it is to show, in part, stands below it, with …
for what may be anything. Names that a reader is to replace are replaced here. What needs root, real hosts or a new
checkout is run by another test, which is named; a command that is in neither place fails here.
"""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.commands import OpenStack
from tests.clients.whole_cloud import WholeCloud, running
from tests.docs.test_docs import DOCUMENTS, ROOT, blocks
from tests.live.test_story import FIRST_MINUTES

pytestmark = pytest.mark.documents

LIMIT_S = 120.0
_LONGEST_NAP_S = 0.2
STORY = "tests/live/test_story.py::test_the_story_comes_true"

# What is run elsewhere: there by the same program with the same options, but for the paths.
ELSEWHERE = {
    "script/run": STORY,
    ".venv/bin/renova controller --config /etc/renova/controller.toml": STORY,
    ".venv/bin/renova guard --config /etc/renova/agent.toml &": STORY,
    ".venv/bin/renova agent --config /etc/renova/agent.toml": STORY,
    ".venv/bin/renova witness --config /etc/renova/agent.toml &": (
        "tests/contract/test_witness.py::test_a_reader_reads_for_the_guard_of_its_host_whenever_that_asks"
    ),
    # On a host that has one.
    "renova witness show --config /etc/renova/agent.toml": (
        "tests/contract/test_witness.py::test_an_operator_reads_what_the_guard_reads"
    ),
    # As root, and nowhere in class A.
    "renova guard test": "tests/contract/test_guard_trial.py::test_a_trial_shows_that_the_gate_works",
    "install -d -m 2750 -g libvirt-qemu /etc/renova/nbd-tls": (
        "tests/live/test_moving.py::test_reboots_keep_the_volume_and_the_disks"
    ),
}
# Without these no test runs at all.
BEFORE_ANY_TEST = {"script/bootstrap --simulated", "script/test", "script/test fast"}


class Step(NamedTuple):
    command: str
    shown: list[str]


def steps(document: Path) -> list[Step]:
    """Return the document's commands, each with the lines that are to be seen."""
    found: list[Step] = []
    for block in blocks(document, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(re.sub(r" {2,}# .*", "", line[2:]), []))
            else:
                assert found, f"{document.name}: {line!r} follows no command"
                found[-1].shown.append(line)
    return found


def plain(line: str) -> str:
    """Return the words of a line, without the borders of tables."""
    return " ".join(re.sub(r"[│┃|]", " ", line).split())


def missing(shown: list[str], printed: str) -> list[str]:
    """Return which of these lines were not printed."""
    lines = [plain(line) for line in printed.splitlines()]
    patterns = {line: re.sub(r"(\\ )?…", ".*", re.escape(plain(line))) for line in shown}
    return [line for line, pattern in patterns.items() if not any(re.search(pattern, each) for each in lines)]


class Reader:
    """Somebody who types what a document says into one shell."""

    def __init__(self, cloud: WholeCloud, names: dict[str, Callable[[WholeCloud], str]]) -> None:
        self.cloud = cloud
        self._names = names
        self._known: dict[str, str] = {}
        self._environment = cloud.environments["admin"]

    def fill_in(self, line: str) -> str:
        """Replace the names that are others here; one that was found stays."""
        for name, find in self._names.items():
            if name in line:
                self._known.setdefault(name, find(self.cloud))
                line = line.replace(name, self._known[name])
        return line

    def follow(self, step: Step) -> None:
        """Run it; what reads a state is run again until it shows what is written."""
        command, shown = self.fill_in(step.command), [self.fill_in(line) for line in step.shown]
        reads = bool({"list", "show", "status"} & set(command.split()))
        deadline = time.monotonic() + LIMIT_S
        while lost := missing(shown, printed := self.run(command)):
            assert reads, f"{command} does not print {lost}, but {printed}"
            assert time.monotonic() < deadline, f"{command} never prints {lost}, but {printed}"
            time.sleep(_LONGEST_NAP_S)

    def run(self, command: str) -> str:
        words = shlex.split(command)
        if words[0] == "source":
            self._environment = self.cloud.environments["demo" if "demo" in words[1] else "admin"]
            assert (self.cloud.lab.home.path / Path(words[1]).name).is_file(), f"there is no {words[1]}"
            return ""
        if words[0] == "openstack":
            return OpenStack(self._environment)(command.partition(" ")[2])
        assert words[0] == "renova", f"nobody runs {command}"
        argv = [sys.executable, "-m", "renova.main", *words[1:]]
        environment = self._environment | {"COLUMNS": "200"}
        ended = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout


def host_of_web(cloud: WholeCloud) -> str:
    return str(cloud.server("web")["OS-EXT-SRV-ATTR:host"])


NAMES: dict[str, dict[str, Callable[[WholeCloud], str]]] = {
    "README.md": {"host2": host_of_web},
    "docs/operate.md": {"compute7": lambda _: "host1", "compute9": lambda _: "host3"},
}
# What is there before the reader begins.
SERVER = "--image renova-guest --flavor m1.tiny --network private --host host1"
GIVEN = {"docs/operate.md": f"openstack server create {SERVER} --wait web"}
# What befalls the cloud before a command, by what the command then shows.
HAPPENS: dict[str, Callable[[WholeCloud], None]] = {
    "│ compute7 │ dead │ no │ …": lambda cloud: cloud.lab.kill("host1"),
    "│ state │ up │": lambda cloud: cloud.lab.start("host1"),
}

WITH_COMMANDS = [document for document in DOCUMENTS if steps(document)]


def elsewhere(command: str) -> bool:
    return command in ELSEWHERE or command in BEFORE_ANY_TEST


@pytest.mark.slow
@pytest.mark.parametrize("document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in WITH_COMMANDS])
def test_commands_do_what_the_document_says(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [step for step in steps(document) if not elsewhere(step.command)]
    if not here:
        return  # all of them are run elsewhere
    nap = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: nap(min(seconds, _LONGEST_NAP_S)))
    monkeypatch.chdir(tmp_path)  # nobody's clouds.yaml
    name = str(document.relative_to(ROOT))
    with running(tmp_path / "home") as cloud:
        reader = Reader(cloud, NAMES.get(name, {}))
        if name in GIVEN:
            reader.run(GIVEN[name])
        for step in here:
            for line in step.shown:
                if line in HAPPENS:
                    HAPPENS[line](cloud)
            reader.follow(step)


@pytest.mark.slow
def test_the_clients_commands_that_are_named_in_passing_exist_with_their_options(tmp_path: Path) -> None:
    with running(tmp_path / "home") as cloud:
        for document in DOCUMENTS:
            check_inline(cloud, document)


def check_inline(cloud: WholeCloud, document: Path) -> None:
    for text in re.findall(r"`openstack ([^`]+)`", document.read_text()):
        words = re.sub(r"^(--os-\S+ \S+ )+", "", " ".join(text.split())).split()
        command = [word for word in words if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        if {"...", "…"} & set(words[:2]):
            continue
        known = OpenStack(cloud.environments["admin"])("help " + " ".join(command))
        assert re.match(rf"usage: \S+ {' '.join(command[:2])}", known), f"there is no openstack {text}"
        for option in (word for word in words if word.startswith("--")):
            assert option in known, f"openstack {text}: no option {option}"


def test_what_is_run_elsewhere_is_named_in_a_document_and_run_there() -> None:
    shown = {step.command for document in WITH_COMMANDS for step in steps(document)}
    assert {*ELSEWHERE, *BEFORE_ANY_TEST} <= shown
    for place in ELSEWHERE.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text()


def test_what_befalls_the_cloud_is_told_by_a_document() -> None:
    assert set(HAPPENS) <= {line for document in WITH_COMMANDS for step in steps(document) for line in step.shown}


def test_the_transcript_has_every_line_of_the_story_in_its_order() -> None:
    told = (ROOT / "README.md").read_text().partition("<!-- transcript -->")[2].partition("<!-- /transcript -->")[0]
    for line in FIRST_MINUTES:
        _, found, told = told.partition(line)
        assert found, f"the transcript lacks {line!r} at its place"
