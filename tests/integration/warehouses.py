"""What warehouses run on here: ClickHouse itself in this process, and stand-ins for BigQuery and Redshift."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import MethodType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine import URL, Engine

PROJECT = "smspartner"
STARTED_WITHIN = 60.0


@contextmanager
def open_clickhouse(folder: Path) -> Iterator[Callable[[], Engine]]:
    """Yield what makes an engine for a database of its own in chdb, which is ClickHouse without a server."""
    name = f"smspartner_{secrets.token_hex(6)}"

    def open_engine(database: str = name) -> Engine:
        where = {"interface": "chdb", "path": str(folder), "database": database}
        return sa.create_engine("clickhousedb://", connect_args=where)

    root = open_engine("default")
    with root.begin() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield open_engine
    with root.begin() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name}"))
    root.dispose()


@contextmanager
def start_bigquery(home: Path) -> Iterator[str]:
    """Start bqemulator, in a process of its own; yield where it listens."""
    _bring_extension(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    # Its other port, of gRPC, is of no use here; its Avro would be downloaded.
    command = [Path(sys.executable).with_name("bqemulator"), "start", "--rest-port", str(port), "--grpc-port", "0"]
    settings = os.environ | {"HOME": str(home), "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false"}
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
    try:
        _wait_until_it_answers(server, port, home / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def _bring_extension(home: Path) -> None:
    """Put DuckDB's spatial extension where bqemulator finds it; it would be downloaded else."""
    import duckdb

    found = importlib.util.find_spec("duckdb_extension_spatial")
    assert found is not None
    assert found.origin is not None
    (brought,) = Path(found.origin).parent.glob("extensions/*/spatial.duckdb_extension")
    row = duckdb.sql("PRAGMA platform").fetchone()
    assert row is not None
    folder = home / ".duckdb" / "extensions" / brought.parent.name / row[0]
    folder.mkdir(parents=True)
    (folder / brought.name).symlink_to(brought)


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(int(STARTED_WITHIN / 0.1)):
        assert server.poll() is None, log.read_text()[-2000:]
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", f"/bigquery/v2/projects/{PROJECT}/datasets")
            if connection.getresponse().status == 200:
                return
        except OSError:
            threading.Event().wait(0.1)
        finally:
            connection.close()
    raise AssertionError(log.read_text()[-2000:])


@contextmanager
def open_bigquery(address: str) -> Iterator[Callable[[], Engine]]:
    """Yield what makes an engine for a dataset of its own in a bqemulator that runs."""
    from google.cloud import bigquery

    name = f"smspartner_{secrets.token_hex(6)}"

    def open_engine() -> Engine:
        # With a priority, if only the usual one, each statement is a job: bqemulator's jobs.query answers an error with
        # status 200, where BigQuery says 400 or 404.
        config = bigquery.QueryJobConfig(default_dataset=f"{PROJECT}.{name}", priority="INTERACTIVE")
        url = f"bigquery://{PROJECT}/{name}?user_supplied_client=True"
        return sa.create_engine(url, connect_args={"client": bigquery_client(address, default_query_job_config=config)})

    root = bigquery_client(address)
    root.create_dataset(name)
    yield open_engine
    root.delete_dataset(name, delete_contents=True)
    root.close()


def bigquery_client(address: str, **options: Any) -> Any:
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    where = ClientOptions(api_endpoint=address)
    return bigquery.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options=where, **options)


def redshift_engine(url: URL) -> Engine:
    """
    Return an engine of Redshift's dialect on a schema of PostgreSQL, which enforces no key there, as Redshift does not.

    Redshift's own driver asks of a server what PostgreSQL has not, so this goes by way of psycopg2.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = sa.create_engine(url.set(drivername="redshift+psycopg2").update_query_dict({"sslmode": "prefer"}))
    # Redshift's catalogue has columns that PostgreSQL's has not.
    for name in ("has_table", "get_columns"):
        setattr(engine.dialect, name, MethodType(getattr(PGDialect, name), engine.dialect))
    sa.event.listen(engine, "before_cursor_execute", _leave_the_key_out, retval=True)
    return engine


def _leave_the_key_out(*event: Any) -> tuple[str, Any]:
    statement, parameters = event[2:4]
    return statement.replace("PRIMARY KEY (snapshot_id)", "CHECK (true)"), parameters
