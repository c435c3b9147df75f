"""What the documents say is so: their links lead somewhere, and what they name exists."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from renova.api.everything import WITH_RULES
from renova.main.commands import app
from renova.settings import (
    AgentSettings,
    BrakeSettings,
    ControllerSettings,
    DutyTimes,
    LeaseTimes,
    MaintenanceSettings,
    RecoverySettings,
    SchedulerSettings,
)
from tests.points.faults import EVERY
from tests.simulation.planted import BUGS, IN_STORIES

COMMANDS = typer.main.get_command(app)  # made once: it takes as long as many a document

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OPERATE = ROOT / "docs" / "operate.md"
RELIABILITY = ROOT / "docs" / "reliability.md"

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?<![\w./-])renova((?: +[\w<>./:-]+)+)")
SCRIPT = re.compile(r"(?<![\w/.-])script/[\w-]+")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml)")
ROW = re.compile(r"^\| `(\w+)` \| `(.*?)` \|")
RULE = re.compile(r'^"([\w:-]+)":', re.MULTILINE)

# What belongs to somebody's machine, and to nobody else's.
PLACES = re.compile(r"(?<![\w.-])/(?:work|root|home|tmp)/")

# Files that a reader is to make, or that a process writes.
NOT_OURS = {"api/compute/action_pause.py", "operations/pause.py", "service.py", "controller.toml", "agent.toml"}


def code(document: Path) -> list[str]:
    """Return what stands in a document as code, in lines and in blocks."""
    return [found.strip("`").strip() for found in CODE.findall(document.read_text())]


def blocks(document: Path, language: str) -> list[str]:
    """Return the document's blocks of this language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indentation}", "", text, flags=re.MULTILINE) for indentation, text in found]


def anchor(heading: str) -> str:
    """Return the name by which a heading is linked to."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def named(document: Path) -> Any:
    return pytest.param(document, id=str(document.relative_to(ROOT)))


every_document = pytest.mark.parametrize("document", [named(document) for document in DOCUMENTS])


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link} leads nowhere"
        if heading:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert heading in {anchor(each) for each in headings}, f"{link}: no such heading"


@every_document
def test_scripts_that_are_named_exist(document: Path) -> None:
    for script in SCRIPT.findall(document.read_text()):
        assert (ROOT / script).is_file(), f"there is no {script}"


@every_document
def test_files_that_are_named_exist(document: Path) -> None:
    for text in code(document):
        if FILE.fullmatch(text) and text not in NOT_OURS:
            places = (ROOT, ROOT / "src" / "renova", document.parent)
            assert any((place / text).exists() for place in places), f"there is no {text}"


@every_document
def test_no_place_of_somebodys_machine_is_named(document: Path) -> None:
    assert PLACES.search(document.read_text()) is None


@every_document
def test_commands_that_are_named_exist_with_their_options(document: Path) -> None:
    for text in code(document):
        for line in COMMAND.findall(text):
            check_command(line.partition(" -- ")[0].split())


def check_command(words: list[str]) -> None:
    """Follow the words down the command line's tree, and look for their options at its end."""
    command: Any = COMMANDS
    while hasattr(command, "commands"):
        word = words.pop(0)
        assert word in command.commands, f"{command.name} has no command {word}"
        command = command.commands[word]
        if not words:
            return
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options, f"{command.name} has no such option"


def defaults(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the settings with their defaults, as they would stand in a file."""
    return {
        field.name: msgspec.json.encode(field.default).decode()
        for field in msgspec.structs.fields(kind)
        if field.type
        not in (LeaseTimes, SchedulerSettings, DutyTimes, RecoverySettings, BrakeSettings, MaintenanceSettings)
    }


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Controller", ControllerSettings),
        ("Lease", LeaseTimes),
        ("Brake", BrakeSettings),
        ("Maintenance settings", MaintenanceSettings),
        ("Scheduler", SchedulerSettings),
        ("Duties", DutyTimes),
        ("Recovery", RecoverySettings),
        ("Agent", AgentSettings),
    ],
)
def test_every_setting_is_listed_with_its_default(heading: str, kind: type[msgspec.Struct]) -> None:
    (section,) = re.findall(rf"^### {heading}\n(.*?)(?=^#|\Z)", OPERATE.read_text(), re.MULTILINE | re.DOTALL)
    listed = {row[1]: row[2] for line in section.splitlines() if (row := ROW.match(line))}
    assert listed == defaults(kind)


@pytest.mark.parametrize("text", blocks(OPERATE, "toml"))
def test_settings_files_that_are_shown_are_right(text: str) -> None:
    values = tomllib.loads(text)
    kind = ControllerSettings if "api_address" in values else AgentSettings
    msgspec.convert(values, kind)


def test_rules_that_are_shown_exist() -> None:
    rules = {rule for module in WITH_RULES for rule in module.POLICY}
    shown = {rule for document in DOCUMENTS for text in blocks(document, "yaml") for rule in RULE.findall(text)}
    assert shown
    assert shown <= rules


def test_every_rule_of_ours_is_named() -> None:
    (section,) = re.findall(r"^## Policy\n(.*?)(?=^## )", OPERATE.read_text(), re.MULTILINE | re.DOTALL)
    ours = {rule for module in WITH_RULES for rule in module.POLICY if rule.startswith("renova:")}
    assert set(re.findall(r"`(renova:[\w:]+)`", section)) == ours


def test_every_way_to_operate_stands_in_the_contents() -> None:
    text = OPERATE.read_text()
    contents = re.findall(r"^\| \[\**(.+?)\**\]\(#[\w-]+\) \|", text, re.MULTILINE)
    assert contents == re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_every_fault_at_crash_points_and_every_planted_bug_is_listed() -> None:
    text = RELIABILITY.read_text()
    (faults,) = re.findall(r"^\| Fault \| Where .*?\n\n", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| ([a-z-]+(?:, [a-z-]+)*) \|", faults, re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == set(EVERY)
    (planted,) = re.findall(r"^\| \| Planted \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\| (\w+) \|", planted, re.MULTILINE)) == {*BUGS, *IN_STORIES}


def test_the_log_of_a_scenario_that_is_shown_is_as_it_is_told() -> None:
    logs = [block for block in blocks(RELIABILITY, "text") if "suspect" in block]
    told = (ROOT / "tests" / "scenarios" / "power_cut_with_armed_guard" / "expected.log").read_text().splitlines()
    for line in "".join(logs).splitlines():
        assert any(each.strip().startswith(line.strip().partition("…")[0]) for each in told), line
    assert len(logs) == 1


def test_decisions_are_numbered_without_gaps_and_listed_with_their_titles() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(folder.glob("0*.md"))
    assert [file.name[:4] for file in files] == [f"{number:04}" for number in range(1, len(files) + 1)]
    titles = [(file.name, *file.read_text().splitlines()[0].removeprefix("# ").split(" ", 1)) for file in files]
    listed = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| (.+) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert listed == [(number, name, title) for name, number, title in titles]
