"""What an error of the system means to a process that begins: whether it may pass by itself."""

import errno
import os

import pytest

from renova.model.errors import BadSetup, NotNow, unusable


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EROFS, errno.ESTALE, errno.EIO, errno.ENOENT, errno.ENETUNREACH, errno.EADDRNOTAVAIL, -3],
)
def test_storage_and_networks_that_are_away_may_come_back(number: int) -> None:
    assert isinstance(unusable(OSError(number, "away"), "It is away."), NotNow)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EINVAL])
def test_what_only_somebody_can_mend_is_not_waited_for(number: int) -> None:
    trouble = unusable(OSError(number, os.strerror(number)), "Mend it.")
    assert isinstance(trouble, BadSetup)
    assert str(trouble) == "Mend it."
