"""What all tests have in common: how the log of a failed one is shown."""

import structlog

# The default renders each traceback with every local variable of every frame: tests of failures would mostly do that.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
