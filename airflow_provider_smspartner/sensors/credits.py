"""Hold a campaign back until the account can pay for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, BaseSensorOperator, PokeReturnValue, conf

from airflow_provider_smspartner.account import CreditRequirement, CreditType
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerError, from_event
from airflow_provider_smspartner.links import BuyCreditLink

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_smspartner.account import Account


class CreditsSensor(BaseSensorOperator):
    """
    Wait until an SMS Partner account holds enough credit.

    An error that time may heal is logged, and waited out until ``timeout``; one that needs a person fails the task at
    once and without task retries. Credit that the account does not report is unknown, never 0: it is waited for too.

    Its XCom is the reading that let it pass, a dictionary: ``sms``, ``sms_low_cost``, ``hlr``, ``to_send``,
    ``balance`` (an exact string), ``currency`` and ``fetched_at`` (ISO 8601, UTC).

    :param min_credits: the least that must be there: a whole number of SMS or look-ups, or with
        ``credit_type="balance"`` an amount in the account's currency; an int, a Decimal or a string of one (templated)
    :param credit_type: ``"sms"``, ``"sms_low_cost"``, ``"hlr"`` or ``"balance"``. The counts are one balance divided
        by three prices, the account's base ones: gate a campaign to several countries on the balance
    :param subtract_pending: subtract the SMS pending departure first; for SMS counts only. Whether SMS Partner has
        debited them by then is not documented
    :param smspartner_conn_id: the Airflow connection whose password is the account's API key (templated)
    :param deferrable: wait in the triggerer instead of on a worker, from the second reading on; ``mode``,
        ``exponential_backoff`` and ``max_wait`` do not count then. Default: ``[operators] default_deferrable``
    :raises ValueError: the requirement makes no sense, as far as that can be told before templates are rendered
    """

    template_fields: Sequence[str] = ("min_credits", "smspartner_conn_id")
    ui_color = "#d7eef5"
    operator_extra_links = (BuyCreditLink(),)

    def __init__(
        self,
        *,
        min_credits: int | Decimal | str,
        credit_type: CreditType | str = CreditType.SMS,
        subtract_pending: bool = False,
        smspartner_conn_id: str = "smspartner_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_credits = min_credits
        self.credit_type = credit_type
        self.subtract_pending = subtract_pending
        self.smspartner_conn_id = smspartner_conn_id
        self.deferrable = deferrable
        # What only a template or an upstream task will tell stands in as 0: the rest can be checked now.
        self._requirement(0 if _comes_later(min_credits) else min_credits)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask the account once, and say whether it can pay; when deferrable and it cannot, leave for the triggerer."""
        requirement = self._rendered_requirement()
        account = self._read()
        if account is not None:
            told = requirement.describe(account.credits)
            self.log.info("SMS Partner connection %r: %s", self.smspartner_conn_id, told)
            if requirement.is_met_by(account.credits):
                return PokeReturnValue(is_done=True, xcom_value=account.reading())
        if self.deferrable:
            self._defer(requirement)
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the reading that the triggerer waited for, or raise the error that ended the wait there."""
        status = event.get("status") if isinstance(event, dict) else None
        if status == "error" and event is not None:
            raise from_event(event["error"])
        if status != "met" or event is None:
            raise AirflowException(f"The triggerer sent an event that this sensor does not know, of status {status!r}")
        reading: dict[str, Any] = event["reading"]
        self.log.info(
            "SMS Partner connection %r: enough credit since %s", self.smspartner_conn_id, reading["fetched_at"]
        )
        return reading

    def _read(self) -> Account | None:
        """Return the account, or None where only time can tell."""
        from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

        try:
            return SMSPartnerHook(self.smspartner_conn_id).get_account()
        except SMSPartnerError as error:
            if not error.retryable:
                raise
            self.log.warning("No reading, not yet: %s", error)
            return None

    def _defer(self, requirement: CreditRequirement) -> NoReturn:
        from airflow_provider_smspartner.triggers.credits import CreditsTrigger

        trigger = CreditsTrigger(
            min_credits=requirement.min_credits,
            credit_type=requirement.credit_type,
            subtract_pending=requirement.subtract_pending,
            smspartner_conn_id=self.smspartner_conn_id,
            poke_interval=self.poke_interval,
            once=True,
        )
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=self.timeout))

    def _requirement(self, min_credits: Any) -> CreditRequirement:
        credit_type: Any = self.credit_type  # the requirement takes the strings of both, and checks them
        return CreditRequirement(min_credits, credit_type, self.subtract_pending)

    def _rendered_requirement(self) -> CreditRequirement:
        try:
            return self._requirement(self.min_credits)
        except ValueError as error:
            message = str(error)
        raise SMSPartnerConfigurationError(message)


def _comes_later(min_credits: object) -> bool:
    """Tell whether a value is known only when the task runs: a template, or what an upstream task returns."""
    return hasattr(min_credits, "resolve") or (isinstance(min_credits, str) and "{" in min_credits)
