"""Release what a campaign has reserved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_smspartner.arguments import boolean, comes_later, required_text

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook


class CreditsReleaseOperator(BaseOperator):
    """
    Give back what a ``CreditsReservationSensor`` has reserved and nobody has deducted.

    Make it a teardown of the sensor, so that it runs too when the sending fails:
    ``release.as_teardown(setups=reserve, on_failure_fail_dagrun=True)``. It is a convenience: what nobody releases
    expires after the sensor's ``hold_for``.

    What holds nothing any more is left as it is. Where the gate was marked as success by hand, there is no XCom: then
    what the gate waits for or holds in this run is looked up.

    :param reservation: the sensor's output: its XCom, a list of them where the sensor is mapped, or an id (templated)
    :param reservations_conn_id: the Airflow connection of the ledger's database (templated)
    :param reservations_table: the name of the ledger's table (templated)
    :param schema: the schema it lies in; None is where the connection points (templated)
    :param create_table: create the tables where they are missing; when False, no DDL is issued
    """

    template_fields: Sequence[str] = ("reservation", "reservations_conn_id", "reservations_table", "schema")
    ui_color = "#d7eef5"

    def __init__(
        self,
        *,
        reservation: Any,
        reservations_conn_id: str,
        reservations_table: str = "smspartner_credit_reservations",
        schema: str | None = None,
        create_table: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reservation = reservation
        self.reservations_conn_id = reservations_conn_id
        self.reservations_table = reservations_table
        self.schema = schema
        self.create_table = boolean("create_table", create_table)
        self._gates = _task_ids_of(reservation)
        for name in ("reservations_conn_id", "reservations_table"):
            if not comes_later(getattr(self, name)):
                required_text(name, getattr(self, name))

    def execute(self, context: Context) -> None:
        """
        Release the reservations.

        :raises SMSPartnerUnavailableError: the ledger is away: let the task be retried
        """
        from airflow_provider_smspartner.hooks.reservations import as_list

        hook = self._hook()
        told = [one for one in as_list(self.reservation) if one]
        if told:
            hook.release(told)
            return
        for task_id in self._gates:
            self._release_gate(hook, task_id, context)

    def _release_gate(self, hook: CreditReservationsHook, task_id: str, context: Context) -> None:
        ti = context["ti"]
        with hook.ledger() as ledger:
            rows = ledger.of_gate(ti.dag_id, ti.run_id, task_id, _map_index(ti))
        self.log.info("The gate %r has handed nothing on: %d rows of it found in the ledger", task_id, len(rows))
        if rows:
            hook.release(rows)

    def _hook(self) -> CreditReservationsHook:
        from airflow_provider_smspartner.hooks.reservations import hook_of

        return hook_of(self)


def _task_ids_of(reservation: Any) -> list[str]:
    """Return the gates whose output this is, to find what they hold where they hand nothing on."""
    if not hasattr(reservation, "iter_references"):
        return []
    return [operator.task_id for operator, _ in reservation.iter_references()]


def _map_index(ti: Any) -> int | None:
    """Return the index of a mapped release, whose gate has the same; None for all of a gate."""
    return ti.map_index if ti.map_index is not None and ti.map_index >= 0 else None
