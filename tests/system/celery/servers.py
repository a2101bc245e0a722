"""PostgreSQL and Redis, as far as a system test needs them: places of its own there, and nothing left behind."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

POSTGRESQL = make_url(os.environ.get("TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test"))
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")


@contextmanager
def made_database(purpose: str) -> Iterator[URL]:
    """Make a database, and drop it in the end, whoever is still connected."""
    server = POSTGRESQL.set(drivername="postgresql+psycopg2")
    root = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = f"smspartner_{purpose}_{secrets.token_hex(6)}"
    with root.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name)
    finally:
        with root.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def connection_to(database: URL) -> str:
    """Return the Airflow connection of a database, as JSON."""
    named = {"host": database.host, "port": database.port, "login": database.username, "password": database.password}
    return json.dumps({"conn_type": "postgres", "schema": database.database} | named)


class Redis:
    """Speak Redis' protocol: for one test no client is installed."""

    def __init__(self) -> None:
        server = urlsplit(REDIS)
        self._socket = socket.create_connection((server.hostname, server.port), timeout=10)
        self._answers = self._socket.makefile("rb")

    def ask(self, *words: object) -> Any:
        """Send a command, and return its answer."""
        spelled = [str(word).encode() for word in words]
        bulks = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in spelled)
        self._socket.sendall(b"*%d\r\n" % len(spelled) + bulks)
        return self._answer()

    def lines(self) -> Iterator[bytes]:
        """Yield what comes until ``close``."""
        self._socket.settimeout(None)
        yield from self._answers

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _answer(self) -> Any:
        line = self._answers.readline()
        kind, said = line[:1], line[1:-2]
        if kind == b"$":
            return None if said == b"-1" else self._answers.read(int(said) + 2)[:-2]
        if kind == b"*":
            return [self._answer() for _ in range(int(said))]
        if kind not in {b"+", b":"}:
            raise OSError(f"Redis answers {line!r}")
        return int(said) if kind == b":" else said


@contextmanager
def taken_redis_database() -> Iterator[tuple[Redis, int]]:
    """Take a database that is empty, and leave it so."""
    redis, taken = Redis(), "smspartner-system-test"
    for number in reversed(range(1, int(redis.ask("CONFIG", "GET", "databases")[1]))):
        redis.ask("SELECT", number)
        if redis.ask("SET", taken, os.getpid(), "NX"):
            if redis.ask("DBSIZE") == 1:
                break
            redis.ask("DEL", taken)
    else:
        raise OSError("Redis has no empty database left")
    try:
        yield redis, number
    finally:
        redis.ask("FLUSHDB")
        redis.close()


@contextmanager
def recorded(number: int, path: Path) -> Iterator[None]:
    """Write down all that anybody tells this database of Redis: a message is gone as soon as a worker has it."""
    redis = Redis()
    redis.ask("MONITOR")

    def record() -> None:
        with path.open("wb") as file:
            file.writelines(line for line in redis.lines() if b" [%d " % number in line)

    recorder = Thread(target=record)
    recorder.start()
    try:
        yield
    finally:
        redis.close()
        recorder.join()
