"""A guard that is hardened says of each measure whether it was taken, as the kernel itself shows it."""

import json
import subprocess
import sys

# In a process of its own: what it asks for could not be given back. As nobody, with no rights but its user's.
REPORT = """
import json, os, resource, sys
from pathlib import Path
from renova.drivers.guard.hardening import harden
if sys.argv[1] == "nobody" and os.geteuid() == 0:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    os.setuid(65534)
measures = {each.name: each.refused for each in harden()}
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([measures, {
    "memory locked": int(status["VmLck"].split()[0]) > 0,
    "real-time priority": os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR,
    "never killed for memory": Path("/proc/self/oom_score_adj").read_text() == "-1000\\n",
}]))
"""


def report(user: str) -> tuple[dict[str, str], dict[str, bool]]:
    done = subprocess.run([sys.executable, "-c", REPORT, user], capture_output=True, text=True, check=True, timeout=60)
    measures, seen = json.loads(done.stdout)
    return measures, seen


def test_each_measure_is_said_to_be_taken_exactly_when_the_kernel_took_it() -> None:
    measures, seen = report("ourselves")
    assert {name: not refused for name, refused in measures.items()} == seen


def test_who_has_no_right_to_any_is_told_so_of_each_and_goes_on() -> None:
    measures, seen = report("nobody")
    assert all(measures.values()), measures
    assert not any(seen.values())
