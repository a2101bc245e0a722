"""Foresee when the credit of accounts runs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.arguments import (
    SNAPSHOTS_TABLE,
    comes_later,
    distinct_texts,
    integer_within,
    one_of,
    required_text,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_smspartner.forecast import Forecast

MOST_DAYS = 366


class CreditsForecastOperator(BaseOperator):
    """
    Forecast when the credit of accounts runs out, from the table of snapshots and at the rate of the last days.

    Nothing is asked of SMS Partner: the forecast is as new as the last snapshot.

    Its XCom is a list of dictionaries, one per account, in the order of ``smspartner_conn_id``: the fields of
    ``airflow_provider_smspartner.forecast.Forecast``, amounts as exact strings, instants in ISO 8601, UTC.
    ``days_left`` is None where there is no forecast, and ``unknown`` then says why: fewer than three readings, less
    than one day measured, or nothing consumed.

    The event of an asset among its ``outlets`` carries the same list as ``extra["forecasts"]``.

    :param sql_conn_id: the Airflow connection of the database that holds the snapshots (templated)
    :param smspartner_conn_id: the account, as the snapshots name it by its Airflow connection, or a list of several
        (templated)
    :param table: the table's name, as in ``CreditsToSqlOperator`` (templated)
    :param schema: the schema it lies in; None is where the SQL connection points (templated)
    :param credit_type: what to foresee: ``"balance"``, ``"sms"``, ``"sms_low_cost"`` or ``"hlr"`` (templated)
    :param days: over how many days before now the rate is measured, 1 to 366. Campaigns follow the days of the week,
        so take whole weeks (templated)
    """

    template_fields: Sequence[str] = ("sql_conn_id", "smspartner_conn_id", "table", "schema", "credit_type", "days")
    ui_color = "#d7eef5"

    def __init__(
        self,
        *,
        sql_conn_id: str,
        smspartner_conn_id: str | Sequence[str] = "smspartner_default",
        table: str = SNAPSHOTS_TABLE,
        schema: str | None = None,
        credit_type: str = "balance",
        days: int | str = 7,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql_conn_id = sql_conn_id
        self.smspartner_conn_id = smspartner_conn_id
        self.table = table
        self.schema = schema
        self.credit_type = credit_type
        self.days = days
        if not comes_later(credit_type):
            one_of("credit_type", credit_type, CreditType)
        if not comes_later(days):
            integer_within("days", days, 1, MOST_DAYS)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Read the last days of each account, and return the forecasts.

        :raises SMSPartnerConfigurationError: the connection or the table is not as it must be
        :raises SMSPartnerUnavailableError: the database is away: let the task be retried
        """
        from airflow_provider_smspartner import metrics
        from airflow_provider_smspartner.lineage import add_to_events

        forecasts = self._foresee()
        for forecast in forecasts:
            self.log.info("SMS Partner connection %r: %s", forecast.smspartner_conn_id, forecast)
            account = {"conn_id": forecast.smspartner_conn_id, "credit_type": forecast.credit_type.value}
            metrics.gauge("days_left", forecast.days_left, **account)
        entries = [forecast.as_xcom() for forecast in forecasts]
        add_to_events(context, self.outlets, "forecasts", entries)
        return entries

    def _foresee(self) -> list[Forecast]:
        from airflow_provider_smspartner.sql.history import foresee

        return foresee(
            required_text("sql_conn_id", self.sql_conn_id),
            distinct_texts("smspartner_conn_id", self.smspartner_conn_id),
            table=self.table,
            schema=self.schema,
            credit_type=CreditType(one_of("credit_type", self.credit_type, CreditType)),
            days=integer_within("days", self.days, 1, MOST_DAYS),
        )
