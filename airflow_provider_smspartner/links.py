"""Where a task's page in Airflow leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class BuyCreditLink(BaseOperatorLink):
    """Lead from a gate to where its account is topped up: the sign-in page that the vendor's documentation names."""

    name = "Buy credit at SMS Partner"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return one address for all accounts: whose credit it is shows after the sign-in."""
        return "https://my.smspartner.fr/connexion"
