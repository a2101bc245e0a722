"""``[smspartner]`` of Airflow's configuration: where the credit page finds its figures."""

from __future__ import annotations

from dataclasses import dataclass

from airflow.configuration import conf

from airflow_provider_smspartner.arguments import SNAPSHOTS_TABLE
from airflow_provider_smspartner.hooks.reservations import DEFAULT_TABLE

SECTION = "smspartner"


@dataclass(frozen=True)
class PageSettings:
    """
    Where the page finds its figures.

    :param snapshots_conn_id: of the database of the snapshots; empty where nobody has set it
    :param accounts: the conn ids to show; none means all that the table knows
    :param reservations_conn_id: of the ledger; empty where there is none
    """

    snapshots_conn_id: str
    snapshots_table: str
    snapshots_schema: str | None
    accounts: tuple[str, ...]
    reservations_conn_id: str
    reservations_table: str
    reservations_schema: str | None

    @classmethod
    def read(cls) -> PageSettings:
        """Return what the configuration says now."""
        return cls(
            snapshots_conn_id=_text("snapshots_conn_id"),
            snapshots_table=_text("snapshots_table") or SNAPSHOTS_TABLE,
            snapshots_schema=_text("snapshots_schema") or None,
            accounts=tuple(filter(None, (name.strip() for name in _text("accounts").split(",")))),
            reservations_conn_id=_text("reservations_conn_id"),
            reservations_table=_text("reservations_table") or DEFAULT_TABLE,
            reservations_schema=_text("reservations_schema") or None,
        )


def _text(option: str) -> str:
    return str(conf.get(SECTION, option, fallback="") or "").strip()
