"""How a guest is watched follows from its flavor and image, by Nova's names and rules."""

import pytest

from renova.model.watching import has_agent, watchdog


@pytest.mark.parametrize(
    ("flavor", "image", "wanted"),
    [
        (None, None, ""),
        ("reset", None, "reset"),
        (None, "pause", "pause"),
        ("reset", "none", "none"),
        ("reset", "disabled", ""),
        ("disabled", "poweroff", "poweroff"),
        ("bark", None, ""),
    ],
)
def test_the_image_counts_before_the_flavor(flavor: str | None, image: str | None, wanted: str) -> None:
    specs = {"hw:watchdog_action": flavor} if flavor else {}
    properties = {"hw_watchdog_action": image} if image else {}
    assert watchdog(specs, properties) == wanted


@pytest.mark.parametrize(("said", "wanted"), [("yes", True), ("True", True), ("1", True), ("no", False), ("", False)])
def test_an_agent_is_there_where_the_image_says_so(said: str, wanted: bool) -> None:
    assert has_agent({"hw_qemu_guest_agent": said}) is wanted
    assert not has_agent({})
