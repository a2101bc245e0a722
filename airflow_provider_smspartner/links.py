"""Where a task's page in Airflow leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


ARE_STORED = hasattr(BaseOperatorLink, "xcom_key")
"""
Whether Airflow stores what an operator's own links say, once the task has left its worker, and shows nothing before.

Airflow 3 does. So that a gate which waits on a worker has its link too, the plugin names it there. Airflow 2 asks the
operator whenever it shows a page, and fails to show that of a mapped task whose links a plugin names.
"""


class BuyCreditLink(BaseOperatorLink):
    """Lead from a gate to where its account is topped up: the sign-in page that the vendor's documentation names."""

    name = "Buy credit at SMS Partner"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return one address for all accounts: whose credit it is shows after the sign-in."""
        return "https://my.smspartner.fr/connexion"
