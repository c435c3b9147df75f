"""What all tests have in common: how logs are shown, how many examples are tried, and what is kept."""

import datetime
import gc
import itertools
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, cast

import hypothesis
import pytest
import structlog

from renova.lab.ports import free_ports
from tests.turns import not_today

if TYPE_CHECKING:
    from renova.lab.postgresql import PostgreSQL

# The default renders each traceback with every local variable of every frame: tests of failures would mostly do that.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# No test fails because its machine is busy. What asks for more or fewer examples than usual reckons from the default.
hypothesis.settings.register_profile("whole", deadline=None, max_examples=50)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=10)
hypothesis.settings.load_profile("whole")

# httpx would look for it at each request to an application, through all of the path, to learn that nobody runs trio.
sys.modules.setdefault("sniffio", cast(ModuleType, None))

WITH_REAL_GUESTS = ("tests/live/", "tests/contract/")


@pytest.hookimpl(trylast=True)  # after -k and -m: a way that is the only one asked for is told
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--whole") and (others := not_today(items, config.getoption("--turn"))):
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a live test where script/test looks for none: it would be told nowhere."""
    live, documents = item.get_closest_marker("live"), item.get_closest_marker("documents")
    if live and not documents and not item.nodeid.startswith(WITH_REAL_GUESTS):
        raise pytest.UsageError(f"{item.nodeid} runs real guests: script/test tells it only in {WITH_REAL_GUESTS}")


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what was imported and collected: it stays as long as the tests run."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=("sqlite", "postgresql"), default="sqlite", help="what tests keep rows in")
    today = datetime.datetime.now(datetime.UTC).date().toordinal()
    parser.addoption(
        "--turn",
        type=int,
        default=today,
        help="which share of the crash points is told, and which way of what takes turns; by default today's",
    )
    parser.addoption("--whole", action="store_true", help="tell all ways of what takes turns")


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["PostgreSQL"]:
    """A real PostgreSQL for all tests of this process that do not hurt it. It writes nothing through to the disk."""
    from renova.lab.postgresql import CARELESS, PostgreSQL, installed

    if not installed():
        pytest.skip("PostgreSQL is not installed: script/bootstrap --dev, as root, installs it")
    place = tmp_path_factory.mktemp("postgresql")
    [port] = free_ports(1)
    server = PostgreSQL(place / "server", port, place / "server.pid", place / "server.log", CARELESS)
    try:
        server.make()
        server.start()
        server.have_database()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session", autouse=True)
def _databases(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.config.getoption("--database") != "postgresql":
        yield
        return
    from tests import databases

    with databases.on(request.getfixturevalue("postgresql_server")):
        yield


@pytest.fixture(autouse=True)
def _empty_databases(_databases: None) -> None:
    if "tests.databases" in sys.modules:
        sys.modules["tests.databases"].next_test()


_numbers = itertools.count(1)


@pytest.fixture
def postgresql_url(postgresql_server: "PostgreSQL") -> Iterator[str]:
    """The address of an empty database on a real PostgreSQL, for one test."""
    name = f"test{next(_numbers)}"
    postgresql_server.have_database(name)
    yield postgresql_server.url(name)
    postgresql_server.ask(f"DROP DATABASE {name} WITH (FORCE)")
