"""Where a task's page in Airflow leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class BuyCreditLink(BaseOperatorLink):
    """
    Lead from a gate to where its account is topped up: the sign-in page that the vendor's documentation names.

    A plugin names it. Of a link that the operator names itself, Airflow 3 shows nothing before the task has left its
    worker: while a gate waits there, nobody would see it.
    """

    name = "Buy credit at SMS Partner"

    @property
    def operators(self) -> list[type[BaseOperator]]:  # type: ignore[override]
        """The gates, imported where a task's page is shown: every process of Airflow imports the plugin."""
        from airflow_provider_smspartner.sensors.credits import CreditsSensor
        from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor

        return [CreditsSensor, CreditsReservationSensor]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return one address for all accounts: whose credit it is shows after the sign-in."""
        return "https://my.smspartner.fr/connexion"
