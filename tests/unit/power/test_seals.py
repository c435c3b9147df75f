"""What is sealed opens with its key, for its host, and no other way."""

import base64
import stat
from pathlib import Path

import pytest

from renova.model.errors import NotNow
from renova.power.seals import Seals, key_id

SECRET = b'{"password":"of the BMC"}'


def new_key(number: int) -> bytes:
    return bytes([number]) * 32


def write_keys(file: Path, *keys: bytes) -> None:
    file.write_text("".join(f"{base64.b64encode(key).decode()}\n" for key in keys))


def test_what_is_sealed_opens_again_also_for_another_controller(tmp_path: Path) -> None:
    sealed = Seals(tmp_path / "keys").seal(SECRET, "host-a")
    assert Seals(tmp_path / "keys").open(sealed, "host-a") == SECRET


def test_the_key_is_made_on_first_use_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    seals = Seals(tmp_path / "keys")
    assert not (tmp_path / "keys").exists()
    seals.seal(SECRET, "host-a")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_sealed_secret_shows_nothing_and_is_never_the_same(tmp_path: Path) -> None:
    seals = Seals(tmp_path / "keys")
    one, other = seals.seal(SECRET, "host-a"), seals.seal(SECRET, "host-a")
    assert one != other
    assert SECRET not in base64.b64decode(one.partition(":")[2])


def test_a_secret_of_one_host_does_not_open_for_another(tmp_path: Path) -> None:
    seals = Seals(tmp_path / "keys")
    with pytest.raises(NotNow, match="set the secrets anew"):
        seals.open(seals.seal(SECRET, "host-a"), "host-b")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-8],
        lambda text: ("B" if text[0] == "A" else "A") + text[1:],
        lambda text: text + "!",
        lambda _: "",
    ],
)
def test_what_was_changed_does_not_open(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    seals = Seals(tmp_path / "keys")
    name, _, text = seals.seal(SECRET, "host-a").partition(":")
    with pytest.raises(NotNow):
        seals.open(f"{name}:{spoil(text)}", "host-a")


def test_a_new_key_seals_and_the_former_still_opens(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    write_keys(file, new_key(1))
    seals = Seals(file)
    old = seals.seal(SECRET, "host-a")
    write_keys(file, new_key(2), new_key(1))
    assert seals.open(old, "host-a") == SECRET
    new = seals.seal(SECRET, "host-a")
    assert (old[:8], new[:8], seals.newest()) == (key_id(new_key(1)), key_id(new_key(2)), key_id(new_key(2)))
    write_keys(file, new_key(2))
    assert Seals(file).open(new, "host-a") == SECRET
    with pytest.raises(NotNow, match=f"key {key_id(new_key(1))} is not in"):
        Seals(file).open(old, "host-a")


def test_what_was_opened_once_opens_while_the_directory_is_away(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    seals = Seals(file)
    sealed = seals.seal(SECRET, "host-a")
    file.unlink()
    assert seals.open(sealed, "host-a") == SECRET
    with pytest.raises(NotNow, match="cannot be read"):
        Seals(file).open(sealed, "host-a")


@pytest.mark.parametrize("content", ["", "\n", "no base64!\n", "c2hvcnQ=\n"])
def test_a_file_that_has_no_keys_is_said_to_have_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(NotNow, match=str(tmp_path)):
        Seals(tmp_path / "keys").seal(SECRET, "host-a")
