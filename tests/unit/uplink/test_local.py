"""What the processes of one host tell each other: whatever else comes is said to be no message."""

from collections.abc import Callable

import pytest

from renova.model.errors import Broken
from renova.uplink.local import decode_from_guard, decode_from_reader, decode_to_guard, decode_to_reader

NO_TEXT = b"\x82\xa4kind\xa4beat\xa4home\xa2\xff\xfe"  # of UTF-8
NESTED = b"\x82\xa4kind\xa4beat\xa4more" + b"\x91" * 100_000


@pytest.mark.parametrize("frame", [b"", b"\xc1", NO_TEXT, NESTED], ids=["nothing", "no kind", "no text", "nested"])
@pytest.mark.parametrize("decode", [decode_from_guard, decode_to_guard, decode_from_reader, decode_to_reader])
def test_a_frame_that_is_no_message_is_said_to_be_malformed(decode: Callable[[bytes], object], frame: bytes) -> None:
    with pytest.raises(Broken, match="a malformed message from the"):
        decode(frame)
