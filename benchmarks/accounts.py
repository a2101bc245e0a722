"""Accounts for the benchmarks: sandboxes in processes of their own, so that they do not slow down who asks them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox


@dataclass(frozen=True)
class Account:
    """Where an account answers, and with which key."""

    url: str
    key: str

    def connection(self) -> str:
        """Return the Airflow connection of our hook."""
        return json.dumps({"conn_type": "smspartner", "host": self.url, "password": self.key})

    def http_connection(self) -> str:
        """Return the Airflow connection that the peer asks over."""
        return json.dumps({"conn_type": "http", "host": self.url, "password": self.key})


@contextmanager
def serve(*keys: str, delay: float = 0) -> Iterator[list[Account]]:
    """
    Serve an account under each of the keys.

    :param delay: seconds until it answers
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, keys, delay), daemon=True)
    process.start()
    try:
        url = here.recv()
        yield [Account(url, key) for key in keys]
    finally:
        here.send("stop")
        process.join()


def _serve(pipe: Connection, keys: tuple[str, ...], delay: float) -> None:
    with SMSPartnerSandbox("10225.119", keys) as sandbox:
        if delay:
            sandbox.fail_next(times=None, delay=delay)
        pipe.send(sandbox.url)
        pipe.recv()


def sqlite_connection(folder: str) -> str:
    """Return the Airflow connection of a warehouse in that folder."""
    return json.dumps({"conn_type": "sqlite", "host": str(Path(folder) / "credits.db")})


@contextmanager
def connections(named: Mapping[str, str]) -> Iterator[None]:
    """Give this process Airflow connections, by conn id."""
    variables = {f"AIRFLOW_CONN_{conn_id.upper()}": connection for conn_id, connection in named.items()}
    os.environ |= variables
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
