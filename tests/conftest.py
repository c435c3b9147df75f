"""What all tests have in common: how the log of a failed one is shown, and that they share what they import."""

import gc

import structlog

# The default renders each traceback with every local variable of every frame: tests of failures would mostly do that.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what was imported and collected: it stays as long as the tests run."""
    gc.collect()
    gc.freeze()
