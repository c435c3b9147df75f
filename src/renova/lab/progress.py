"""Tells people what the lab is doing: a spinner with the time while it lasts, then a line with its duration.

Where the output is no terminal there are only the lines.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Stage:
    """Something that takes time. What it says at the end stands in its line."""

    def __init__(self, text: str, console: Console, spinner: Progress) -> None:
        self.text = text
        self._console = console
        self._spinner = spinner

    def doing(self, what: str) -> None:
        """Show what is going on just now."""
        self._spinner.update(self._spinner.task_ids[0], description=escape(f"{self.text}: {what}"))

    def done(self, what: str) -> None:
        """Set the sentence that will stand in the line, instead of the stage's text."""
        self.text = what


class Teller:
    """Tells one line after the other on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, text: str) -> Iterator[Stage]:
        """Tell of what is done in this block; of an error only that it happened here: who catches it tells the rest."""
        began = time.monotonic()
        columns = (SpinnerColumn("line"), TimeElapsedColumn(), TextColumn("{task.description}"))
        hidden = not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=hidden) as spinner:
            spinner.add_task(escape(text))
            stage = Stage(text, self.console, spinner)
            try:
                yield stage
            except BaseException:
                stage.done(f"FAILED: {text}")
                raise
            finally:
                spinner.stop()
                self.line(stage.text, time.monotonic() - began)

    def line(self, text: str, seconds: float | None = None) -> None:
        """Tell a line, with a duration if it has one."""
        duration = "" if seconds is None else f"{seconds:.1f} s"
        self.console.print(f"{duration:>8}  {escape(text)}", highlight=False, soft_wrap=True)
