"""Live tests run real guests on real namespaces: everything in this directory is skipped without root."""

import os
from pathlib import Path

import pytest

from renova.lab import furniture, guest_image


@pytest.fixture(autouse=True, scope="session")
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("real guests in namespaces need root")


@pytest.fixture(scope="session")
def image_dir(pytestconfig: pytest.Config) -> Path:
    """Where guest images are built; kept between runs, as they only change with their input."""
    return pytestconfig.rootpath / ".renova-test" / "guest-image"


@pytest.fixture(scope="session")
def guest_image_path(_root: None, image_dir: Path) -> Path:
    """A guest image that says GUEST-READY on its console; beside it the others that every lab has."""
    image, *_ = [guest_image.build(image_dir, label) for label in furniture.IMAGES]
    return image
