"""What all messages are made of: their tag, and the bounds of what stands in them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from renova.model.host import SHORTEST_RENEWAL_S

MOST_GUESTS = 10_000  # of a host
MOST_SOUGHT = 1_000  # hosts that one is asked about
Text = Annotated[str, Meta(max_length=1024)]
Mark = Annotated[str, Meta(max_length=64, pattern="^[ -~]*$")]  # an id, an address, a digest
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
HostMark = Annotated[str, Meta(max_length=36, pattern="^[0-9a-f-]*$")]  # a `HostId`, good as the name of a file
Interval = Annotated[float, Meta(ge=SHORTEST_RENEWAL_S, le=86_400)]


class Message(msgspec.Struct, frozen=True, tag_field="kind", kw_only=True):
    """What both directions share: the tag."""
