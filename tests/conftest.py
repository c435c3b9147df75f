"""What all tests have in common: how logs are shown, how many examples are tried, and what is kept."""

import gc

import hypothesis
import structlog

# The default renders each traceback with every local variable of every frame: tests of failures would mostly do that.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# No test fails because its machine is busy. What asks for more or fewer examples than usual reckons from the default.
hypothesis.settings.register_profile("whole", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=20)
hypothesis.settings.load_profile("whole")


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what was imported and collected: it stays as long as the tests run."""
    gc.collect()
    gc.freeze()
