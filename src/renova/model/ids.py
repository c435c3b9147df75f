"""Identities, each a type of its own, so that a host is never passed where a server is meant."""

from typing import NewType

ServerId = NewType("ServerId", str)
HostId = NewType("HostId", str)  # a host's uuid, given at enrolment; names may be reused, ids never are
GroupId = NewType("GroupId", str)  # of a server group
ProjectId = NewType("ProjectId", str)
UserId = NewType("UserId", str)
ImageId = NewType("ImageId", str)
NetworkId = NewType("NetworkId", str)
SubnetId = NewType("SubnetId", str)
PortId = NewType("PortId", str)
VolumeId = NewType("VolumeId", str)
AttachmentId = NewType("AttachmentId", str)
SnapshotId = NewType("SnapshotId", str)
OperationId = NewType("OperationId", int)
ExecutorId = NewType("ExecutorId", str)  # one run of a controller process; a restart is another executor
