"""Copying a running guest's root disk by libvirt's backup job; runs in the threads that `libvirt_connection` gives.

QEMU itself copies the disk as it was when the job began, through its whole chain, into one file. The guest is never
paused and its disks stay the ones they are, so an agent or a libvirtd that dies in the middle leaves nothing to mend:
at worst a job that goes on, and ends when the copy is asked for again.
"""

import contextlib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Literal

import libvirt

from renova.model.errors import Refused

ROOT = "vda"
GONE = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}
# What libvirt 9 says of a job that it lost track of, as it may when it is killed in the middle of one.
LOST = "backup job data missing"

Progress = Literal["runs", "done", "failed"]


def begin(domain: Any, copy: Path) -> None:
    """Have the job begin, into a file that must not be there yet."""
    if _is_lost(domain):
        raise Refused(
            "libvirt lost track of an earlier copy of this guest's disk; reboot the server hard, then try again"
        )
    job = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(job, "disks")
    for target in ET.fromstring(domain.XMLDesc()).findall("devices/disk/target"):  # noqa: S314  (from libvirt)
        name = target.attrib["dev"]
        disk = ET.SubElement(disks, "disk", name=name, backup="yes" if name == ROOT else "no")
        if name == ROOT:
            disk.set("type", "file")
            ET.SubElement(disk, "target", file=str(copy))
            ET.SubElement(disk, "driver", type="qcow2")
    domain.backupBegin(ET.tostring(job, encoding="unicode"), None)


def progress(domain: Any) -> tuple[Progress, str]:
    """Say how the job that was begun last fares, and why it failed."""
    try:
        if domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
            return "runs", ""
        ended = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
    except libvirt.libvirtError as error:
        if error.get_error_code() in GONE:
            return "failed", "the guest went off"
        raise
    if ended.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
        return "failed", "libvirt knows nothing of it any more"
    return ("done", "") if ended.get("success") else ("failed", str(ended.get("errmsg", "libvirt does not say why")))


def _is_lost(domain: Any) -> bool:
    try:
        domain.jobInfo()
    except libvirt.libvirtError as error:
        return LOST in str(error.get_error_message())
    return False


def abort(domain: Any) -> bool:
    """Have no job going on; False while it is still ending."""
    try:
        if _is_lost(domain) or domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
            return True
        with contextlib.suppress(libvirt.libvirtError):  # it ended meanwhile, or is being aborted: the next look tells
            domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() in GONE:
            return True
        raise
    return False
