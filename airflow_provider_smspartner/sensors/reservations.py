"""Hold a campaign back until its credit is reserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_smspartner.arguments import boolean, comes_later, integer, one_of, required_text
from airflow_provider_smspartner.arguments import seconds as in_seconds
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.sensors.gate import CreditGate

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import (  # type: ignore[import-not-found, unused-ignore]
        OperatorLineage,
    )

    from airflow_provider_smspartner.account import CreditRequirement
    from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
    from airflow_provider_smspartner.lineage import TableLineage
    from airflow_provider_smspartner.reservation import OnRerun, Request, Reservation
    from airflow_provider_smspartner.triggers.reservations import CreditsReservationTrigger


class CreditsReservationSensor(CreditGate):
    """
    Wait until enough credit of an SMS Partner account is free, and reserve it for this campaign.

    No other campaign that reserves takes it then, until it is deducted, released, or expires. Who sends without a
    reservation can still spend it.

    A try that fails, is killed or skipped gives back what it has reserved. A task that is cleared exchanges its hold:
    it reserves anew, and until that is granted the old hold stays.

    Its XCom is the reading on which it was granted, as a ``CreditsSensor``'s, with ``reservation_id``, ``epoch`` and
    ``held`` (an exact string). ``reservation_id`` is an XCom of its own besides. The event of an asset among its
    ``outlets`` carries the last three and the conn id as ``extra["reservations"]``.

    All parameters of ``CreditsSensor``, and:

    :param reservations_conn_id: the Airflow connection of the ledger's database: PostgreSQL, MySQL, MariaDB or SQLite
        (templated)
    :param priority: the higher one comes first (templated)
    :param in_turn: nobody behind it in the queue takes credit first; else who fits may overtake
    :param hold_for: how long it is held after the grant and anew after each deduction, as a timedelta or in seconds:
        longer than the longest pause of the campaign. Then it expires, and others may take it
    :param settles_after: how long the API may take to show what was spent, as a timedelta or in seconds
    :param on_rerun: what a cleared campaign reserves: the ``"whole"`` again, or the ``"rest"`` that was not deducted
    :param reservations_table: the name of the ledger's table; the names of two others begin with it (templated)
    :param schema: the schema they lie in; None is where the connection points (templated)
    :param create_table: create the tables where they are missing; when False, no DDL is issued
    :raises SMSPartnerArgumentError: an argument makes no sense; while the DAG is parsed where that can be told before
        templates are rendered
    """

    template_fields: Sequence[str] = (
        *CreditGate.template_fields,
        "reservations_conn_id",
        "priority",
        "reservations_table",
        "schema",
    )

    def __init__(
        self,
        *,
        reservations_conn_id: str,
        priority: int | str = 0,
        in_turn: bool = False,
        hold_for: timedelta | float = timedelta(hours=72),
        settles_after: timedelta | float = timedelta(seconds=60),
        on_rerun: OnRerun = "whole",
        reservations_table: str = "smspartner_credit_reservations",
        schema: str | None = None,
        create_table: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reservations_conn_id = reservations_conn_id
        self.priority = priority
        self.in_turn = boolean("in_turn", in_turn)
        self.hold_for = timedelta(seconds=in_seconds("hold_for", hold_for))
        self.settles_after = timedelta(seconds=in_seconds("settles_after", settles_after, or_none_at_all=True))
        self.on_rerun: Any = one_of("on_rerun", on_rerun, ("whole", "rest"))
        self.reservations_table = reservations_table
        self.schema = schema
        self.create_table = boolean("create_table", create_table)
        self._context: Context | None = None
        self._lineage: TableLineage | None = None
        self._check_the_ledger()

    def until_it_ends(self, context: Context, wait: Callable[[], Any]) -> Any:
        """Do the same, and give back what was reserved if this ends otherwise than by success."""
        self._context = context
        try:
            return super().until_it_ends(context, wait)
        except (TaskDeferred, AirflowRescheduleException):
            raise
        except BaseException:
            self._let_go(context)
            raise

    def ask(self, requirement: CreditRequirement, context: Context) -> dict[str, Any] | None:
        """Read the account once, and reserve; return what this task hands on, or None for not yet."""
        hook = self._hook()
        account, outcome = hook.ask(self._request(requirement, context))
        return self._handed_on(hook, account.reading(), outcome.reservation, context)

    def trigger(self, requirement: CreditRequirement, context: Context) -> CreditsReservationTrigger:
        """Return the trigger that keeps this gate's place, and calls it when it can be granted."""
        from airflow_provider_smspartner.triggers.reservations import CreditsReservationTrigger

        return CreditsReservationTrigger(
            reservation_id=self._reservation_id(context),
            smspartner_conn_id=self.smspartner_conn_id,
            reservations_conn_id=self.reservations_conn_id,
            reservations_table=self.reservations_table,
            schema=self.schema,
            poke_interval=self.poke_interval,
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Reserve on the reading that this gate was called with; where that is refused by now, read anew, once."""
        reading = self.reading_of(event)
        note = (event or {}).get("note")
        xcom = None
        if note is not None:
            xcom = self.patiently(lambda: self._decide(reading, note, context))
        if xcom is None:
            xcom = self.poke(context).xcom_value
        if xcom is None:  # no longer deferrable, as the DAG was changed meanwhile: never go without a hold
            self.leave(context)
        return xcom

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage[Any, Any] | None:
        """Return the account's API and the ledger's table for OpenLineage; nothing where nothing was reserved."""
        from airflow_provider_smspartner.lineage import openlineage_facets

        return openlineage_facets(self._lineage)

    def on_kill(self) -> None:
        """Give back what this try has reserved: nobody will be told of it."""
        if self._context is not None:
            self._let_go(self._context)

    def _hook(self) -> CreditReservationsHook:
        from airflow_provider_smspartner.hooks.reservations import hook_of

        return hook_of(self)

    def _request(self, requirement: CreditRequirement, context: Context) -> Request:
        from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
        from airflow_provider_smspartner.reservation import TAKE_OVER, Request

        return Request(
            account=SMSPartnerHook(self.smspartner_conn_id).reservations_account,
            smspartner_conn_id=self.smspartner_conn_id,
            requirement=requirement,
            hold_for=self.hold_for,
            settles_after=self.settles_after,
            seen_for=self._until_it_asks_again() + TAKE_OVER,
            priority=integer("priority", self.priority),
            in_turn=self.in_turn,
            on_rerun=self.on_rerun,
            attempt=str(context["ti"].try_number),
            **_task(context),
        )

    def _until_it_asks_again(self) -> timedelta:
        """Return the longest time between two polls: a backoff grows it up to ``max_wait``, else without a limit."""
        interval = timedelta(seconds=self.poke_interval)
        if self.deferrable or not self.exponential_backoff:
            return interval
        return max(interval, self.max_wait or timedelta(seconds=self.timeout))

    def _reservation_id(self, context: Context) -> str:
        from airflow_provider_smspartner.reservation import reservation_id

        return reservation_id(self.smspartner_conn_id, **_task(context))

    def _decide(self, reading: dict[str, Any], note: Sequence[Any], context: Context) -> dict[str, Any] | None:
        hook = self._hook()
        outcome = hook.decide(self._request(self.requirement(), context), reading, note)
        return self._handed_on(hook, reading, outcome.reservation, context)

    def _handed_on(
        self, hook: CreditReservationsHook, reading: dict[str, Any], reservation: Reservation | None, context: Context
    ) -> dict[str, Any] | None:
        from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
        from airflow_provider_smspartner.lineage import add_to_events, report_lineage

        if reservation is None or reservation.state != "held" or hook.written is None:
            return None
        account = SMSPartnerHook(self.smspartner_conn_id)
        self._lineage = report_lineage([account], *hook.written, self.reservations_conn_id)
        told = reservation.as_xcom()
        add_to_events(context, self.outlets, "reservations", [{"smspartner_conn_id": self.smspartner_conn_id} | told])
        context["ti"].xcom_push(key="reservation_id", value=reservation.reservation_id)
        return reading | told

    def _let_go(self, context: Context) -> None:
        """Give back what this try has reserved, or its place: a convenience, as what nobody gives back expires."""
        try:
            with self._hook().ledger() as ledger:
                ended = ledger.release(self._reservation_id(context), attempt=str(context["ti"].try_number))
        except Exception as error:  # noqa: BLE001  # whatever it is, the gate ends with its own error
            told = error if isinstance(error, SMSPartnerError) else type(error).__name__
            self.log.warning("What this try may have reserved is not given back, and will expire: %s", told)
            return
        for row in ended:
            self.log.info("Given back, as this try ends without success: %s", row.as_xcom())

    def _check_the_ledger(self) -> None:
        """Refuse while the DAG is parsed what makes no sense whatever templates will render."""
        if not comes_later(self.priority):
            integer("priority", self.priority)
        for name in ("reservations_conn_id", "reservations_table"):
            if not comes_later(getattr(self, name)):
                required_text(name, getattr(self, name))


def _task(context: Context) -> dict[str, Any]:
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    return {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": map_index}
