"""Each scenario goes as it is written down: who is dead by which proof when, and where guests run meanwhile."""

from pathlib import Path

import msgspec
import pytest

from tests.scenarios import __main__ as command
from tests.scenarios import timeline
from tests.scenarios.happenings import HAPPENINGS, find
from tests.scenarios.telling import HERE, expected, folders, tell

ALL = folders()


@pytest.mark.parametrize("folder", ALL, ids=[folder.name for folder in ALL])
def test_it_goes_as_expected(folder: Path) -> None:
    assert tell(folder)[0] == expected(folder)


@pytest.mark.parametrize("folder", ALL, ids=[folder.name for folder in ALL])
def test_it_has_its_story(folder: Path) -> None:
    assert 80 <= len((folder / "story.md").read_text()) <= 800


def test_there_are_no_other_folders() -> None:
    assert {path for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("__")} == set(ALL)


def test_what_is_expected_is_renewed_on_purpose_and_otherwise_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / ALL[0].name
    copy.mkdir()
    for file in ALL[0].iterdir():
        (copy / file.name).write_text(file.read_text())
    log = copy / "expected.log"
    right, written = log.read_text(), log.stat().st_mtime_ns

    assert command.main(["--renew"], tmp_path) == 0
    assert (log.read_text(), log.stat().st_mtime_ns) == (right, written)

    log.write_text(right + "and then a miracle\n")
    assert command.main([], tmp_path) == 1
    assert "-and then a miracle" in capsys.readouterr().out
    assert log.read_text() != right
    assert command.main(["--renew", copy.name], tmp_path) == 0
    assert log.read_text() == right


def test_a_sentence_that_nobody_understands_is_refused() -> None:
    assert find("host1 loses power")[1] == ("host1",)
    with pytest.raises(LookupError, match="'host1 explodes' is not understood"):
        find("host1 explodes")


def test_every_sentence_happens_somewhere() -> None:
    said = {
        find(sentence)[0]
        for folder in ALL
        for moment in timeline.read(folder / "timeline.toml").at
        for sentence in moment.happens
    }
    assert [sentence for sentence, effect in HAPPENINGS.items() if effect not in said] == []


def test_a_word_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "timeline.toml"
    path.write_text("until = 1\nat = []\nhoste = 3\n")
    with pytest.raises(msgspec.ValidationError, match="hoste"):
        timeline.read(path)
