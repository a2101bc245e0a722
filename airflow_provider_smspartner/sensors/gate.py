"""What every sensor that waits for credit has in common: its arguments, its deferral, the end of its wait."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_smspartner.account import CreditRequirement, CreditType
from airflow_provider_smspartner.arguments import boolean, comes_later, required_text, seconds
from airflow_provider_smspartner.exceptions import (
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerError,
    from_event,
)
from airflow_provider_smspartner.links import ARE_STORED, BuyCreditLink
from airflow_provider_smspartner.sensors.wait import Wait

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

_FAILED_IN_TRIGGERER, _TIMED_OUT = "__fail__", "Trigger timeout"
"""How Airflow says that a trigger ended without an event, and that it did so as its time was over."""

_SINCE = "waits_since"
"""What a deferral keeps besides."""

# Airflow 2 warns of, or refuses, an ``execute`` that another one calls: this is the one behind its guard.
_WAIT = getattr(BaseSensorOperator.execute, "__wrapped__", BaseSensorOperator.execute)

_REFUSAL = f"{SMSPartnerArgumentError.__module__}.{SMSPartnerArgumentError.__qualname__}: "


class CreditGate(BaseSensorOperator):
    """
    Wait for credit, in any mode; a subclass says what it asks, and which trigger asks that without a worker.

    The arguments are those of ``CreditsSensor``.
    """

    template_fields: Sequence[str] = ("min_credits", "credit_type", "subtract_pending", "smspartner_conn_id")
    ui_color = "#d7eef5"
    operator_extra_links = () if ARE_STORED else (BuyCreditLink(),)

    def __init__(
        self,
        *,
        min_credits: int | Decimal | float | str,
        credit_type: CreditType | str = CreditType.SMS,
        subtract_pending: bool | str = False,
        smspartner_conn_id: str = "smspartner_default",
        deferrable: bool | None = None,
        skip_on_timeout: bool = False,
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        if timeout is not None:  # else Airflow's default
            kwargs["timeout"] = seconds("timeout", timeout)
        super().__init__(poke_interval=seconds("poke_interval", poke_interval), **kwargs)
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.min_credits = min_credits
        self.credit_type = credit_type
        self.subtract_pending = subtract_pending
        self.smspartner_conn_id = smspartner_conn_id
        self.deferrable = boolean("deferrable", deferrable)
        self.skip_on_timeout = boolean("skip_on_timeout", skip_on_timeout)
        if skip_on_timeout and (self.soft_fail or self.never_fail):
            raise SMSPartnerArgumentError(
                "skip_on_timeout skips when time is over, soft_fail and never_fail on a permanent error too: use one"
            )
        self._wait: Wait | None = None
        self._check_what_is_known()

    @abstractmethod
    def ask(self, requirement: CreditRequirement, context: Context) -> dict[str, Any] | None:
        """Ask once; return the XCom of a gate that opens, or None for one that waits on."""

    @abstractmethod
    def trigger(self, requirement: CreditRequirement, context: Context) -> BaseTrigger:
        """Return the trigger that goes on asking when this gate leaves its worker."""

    def execute(self, context: Context) -> Any:
        """Wait as every sensor does, and skip when time is over where that is asked for."""
        self._wait = Wait.begin(self, str(self.smspartner_conn_id), context, defers=self.deferrable)
        return self.until_it_ends(context, lambda: _WAIT(self, context))

    def until_it_ends(self, context: Context, wait: Callable[[], Any]) -> Any:
        """Do what a worker does of the wait, and give its end the form that the arguments ask for."""
        with self.wait.counted():
            return self._skipping_on_timeout(wait)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once; when deferrable and the gate stays shut, leave for the triggerer."""
        xcom = self.patiently(lambda: self.ask(self.requirement(), context))
        if xcom is None:
            self.wait.shut()
            if self.deferrable:
                self.leave(context)
        return PokeReturnValue(is_done=xcom is not None, xcom_value=xcom)

    def patiently(self, ask: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """Return what asking gives; None, too, where a transient error is in the way, which never fails a gate."""
        try:
            return ask()
        except SMSPartnerError as error:
            if not error.retryable:
                self.log_permanent_error(error)
                raise
            self.log.warning("Transient error, the gate waits on: %s", error)
            return None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """End a wait in the triggerer as one on a worker ends, whatever the Airflow version makes of it."""
        next_kwargs = dict(next_kwargs or {})
        self._wait = Wait.resume(str(self.smspartner_conn_id), next_kwargs.pop(_SINCE, None))
        failure = next_kwargs if next_method == _FAILED_IN_TRIGGERER else {}
        if failure.get("error") == _TIMED_OUT:
            next_method, next_kwargs = self.time_is_over.__name__, {}
        elif refusal := _refusal(failure.get("traceback") or ()):
            next_method, next_kwargs = self.refuse.__name__, {"refusal": refusal}
        return self.until_it_ends(
            context, lambda: super(CreditGate, self).resume_execution(next_method, next_kwargs, context)
        )

    def time_is_over(self, context: Context) -> NoReturn:
        """End a wait that took too long in the triggerer."""
        message = f"The gate has timed out: it did not open within {self._patience()} in the triggerer"
        self.log.error(message)
        raise AirflowSensorTimeout(message)

    def refuse(self, context: Context, refusal: str) -> NoReturn:
        """End a wait whose trigger has refused its arguments: without task retries, as on a worker."""
        error = SMSPartnerArgumentError(refusal)
        self.log_permanent_error(error)
        raise error

    @property
    def wait(self) -> Wait:
        """The wait of this gate."""
        # Where a test calls one method by itself, nothing has begun it.
        return self._wait or Wait(str(self.smspartner_conn_id), datetime.now(UTC))

    def requirement(self) -> CreditRequirement:
        """
        Return what this gate waits for, as templates have rendered it.

        :raises SMSPartnerArgumentError: it makes no sense
        """
        asked_for: Any = (self.min_credits, self.credit_type, self.subtract_pending)
        return CreditRequirement(*asked_for)

    def reading_of(self, event: object) -> dict[str, Any]:
        """
        Return the reading that a trigger has sent.

        :raises SMSPartnerError: it has sent an error, or what this version does not know
        """
        fields: dict[str, Any] = event if isinstance(event, dict) else {}
        status, error, reading = fields.get("status"), fields.get("error"), fields.get("reading")
        if status == "met" and isinstance(reading, dict):
            return reading
        if status == "error" and isinstance(error, dict):
            ended_with = from_event(error)
        else:
            ended_with = SMSPartnerConfigurationError(
                f"the triggerer sent an event of status {status!r}, which this sensor does not know: install the same "
                "version of this package in both"
            )
        self.log_permanent_error(ended_with)
        raise ended_with

    def log_permanent_error(self, error: SMSPartnerError) -> None:
        """Log an error before it is raised: soft_fail and never_fail hide it, and a long line is cut on the page."""
        self.wait.needs_action()
        conn_id = error.conn_id or self.smspartner_conn_id
        self.log.error("SMS Partner connection %r: permanent error, needs action:", conn_id)
        self.log.error("%s", error.args[0])

    def leave(self, context: Context) -> NoReturn:
        """Go on waiting in the triggerer."""
        trigger = self.trigger(self.requirement(), context)
        # All else on this object is gone when the gate comes back.
        kept = {_SINCE: self.wait.since.isoformat()}
        left = self.wait.left(self._patience())
        self.defer(trigger=trigger, method_name="execute_complete", kwargs=kept, timeout=left)

    def _patience(self) -> timedelta:
        """Return the shorter limit: Airflow 3 does not count ``execution_timeout`` while a task is deferred."""
        patience = timedelta(seconds=self.timeout)
        return min(patience, self.execution_timeout) if self.execution_timeout else patience

    def _skipping_on_timeout(self, wait: Callable[[], Any]) -> Any:
        try:
            return wait()
        except (AirflowSensorTimeout, AirflowTaskTimeout) as timeout:
            if not self.skip_on_timeout:
                raise
            reason = str(timeout)
        # Outside of the except: a request that was cut short has frames that hold the key.
        self.log.warning("Time is over, and skip_on_timeout is set: %s", reason)
        raise AirflowSkipException(reason)

    def _check_what_is_known(self) -> None:
        """Refuse while the DAG is parsed what makes no sense whatever templates will render."""
        # Each stand-in goes with whatever the others are.
        stand_ins = (self.min_credits, 0), (self.credit_type, CreditType.SMS), (self.subtract_pending, False)
        known: Any = [stand_in if comes_later(value) else value for value, stand_in in stand_ins]
        CreditRequirement(*known)
        if not comes_later(self.smspartner_conn_id):
            required_text("smspartner_conn_id", self.smspartner_conn_id)


def _refusal(traceback: Iterable[str]) -> str | None:
    """Return the sentence with which a trigger refused its arguments, from what Airflow keeps of that."""
    for line in traceback:
        if line.startswith(_REFUSAL):
            return line.removeprefix(_REFUSAL).strip()
    return None
