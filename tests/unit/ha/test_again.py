"""What fails is tried again, ever later, and never not at all."""

from renova.ha.again import again_at


def test_the_pauses_double_up_to_a_limit() -> None:
    failed = "2026-01-01T00:00:00.000000"
    assert [again_at(failed, attempts, 30)[11:19] for attempts in (0, 1, 2, 3, 99)] == [
        "00:00:30",
        "00:00:30",
        "00:01:00",
        "00:02:00",
        "00:10:00",
    ]
