"""A secrets backend of a company's own, for ``[secrets] backend``: it holds connections, and can be away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow.secrets import BaseSecretsBackend


class Vault(BaseSecretsBackend):
    """Holds the connections that a test puts into it, and fails as long as a test says."""

    holds: ClassVar[dict[str, str]] = {}
    failures: ClassVar[Iterator[Exception]] = iter(())
    """What it raises in place of its next answers."""

    def get_conn_value(self, conn_id: str, **_: object) -> str | None:
        if conn_id in self.holds and (failure := next(self.failures, None)):
            raise failure
        return self.holds.get(conn_id)
