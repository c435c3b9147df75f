"""What the lab tells: one line for each thing done, with its duration."""

import io

import pytest
from rich.console import Console

from renova.lab.progress import Teller


def told(output: io.StringIO) -> list[str]:
    return [line.split("s  ", 1)[1] for line in output.getvalue().splitlines()]


def test_a_stage_is_a_line_that_says_what_came_of_it() -> None:
    output = io.StringIO()
    teller = Teller(Console(file=output))
    with teller.stage("boiling [water]") as stage:
        stage.doing("heating")
    with teller.stage("brewing") as stage:
        stage.done("the tea is ready")
    assert told(output) == ["boiling [water]", "the tea is ready"]


def test_a_stage_that_fails_says_which_it_was() -> None:
    output = io.StringIO()
    with pytest.raises(RuntimeError), Teller(Console(file=output)).stage("brewing"):
        raise RuntimeError("no water")
    assert told(output) == ["FAILED: brewing"]


def test_on_a_terminal_the_line_stays_when_the_spinner_goes() -> None:
    output = io.StringIO()
    with Teller(Console(file=output, force_terminal=True, width=80)).stage("brewing") as stage:
        stage.doing("heating")
        stage.done("the tea is ready")
    assert output.getvalue().rstrip().endswith("the tea is ready")
