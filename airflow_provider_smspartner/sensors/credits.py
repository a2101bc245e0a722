"""Hold a campaign back until the account can pay for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_smspartner.sensors.gate import CreditGate

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_smspartner.account import CreditRequirement
    from airflow_provider_smspartner.triggers.credits import CreditsTrigger


class CreditsSensor(CreditGate):
    """
    Wait until an SMS Partner account holds enough credit.

    A transient error is logged, and waited out until ``timeout``; a permanent one needs action, and fails the task at
    once and without task retries. Credit that the account does not report is unknown, never 0: it is waited for too.

    Its XCom is the reading that let it pass, a dictionary: ``sms``, ``sms_low_cost``, ``hlr``, ``to_send``,
    ``balance`` (an exact string), ``currency`` and ``fetched_at`` (ISO 8601, UTC).

    :param min_credits: the least that must be there: SMS or look-ups, rounded up to a whole number, or with
        ``credit_type="balance"`` an amount in the account's currency; an int, a Decimal, a float or a string of one
        (templated)
    :param credit_type: ``"sms"``, ``"sms_low_cost"``, ``"hlr"`` or ``"balance"``. The counts are one balance divided
        by three prices, the account's base ones: gate a campaign to several countries on the balance (templated)
    :param subtract_pending: subtract the SMS pending departure first; for SMS counts only. Whether SMS Partner has
        debited them by then is not documented (templated)
    :param smspartner_conn_id: the Airflow connection whose password is the account's API key (templated)
    :param deferrable: wait in the triggerer instead of on a worker, from the second reading on; ``mode``,
        ``exponential_backoff`` and ``max_wait`` do not count then. Default: ``[operators] default_deferrable``
    :param skip_on_timeout: skip the task when time is over (``timeout``, ``execution_timeout``), in any mode. A
        permanent error still fails it, where ``soft_fail`` would skip that too
    :param poke_interval: seconds or a timedelta from one reading to the next
    :param timeout: seconds or a timedelta until the wait is given up. Default: ``[sensors] default_timeout``
    :raises SMSPartnerArgumentError: an argument makes no sense; while the DAG is parsed where that can be told before
        templates are rendered
    """

    def ask(self, requirement: CreditRequirement, context: Context) -> dict[str, Any] | None:
        """Ask the account once; return the reading that can pay."""
        from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

        account = SMSPartnerHook(self.smspartner_conn_id).get_account()
        told = requirement.describe(account.credits)
        self.log.info("SMS Partner connection %r: %s", self.smspartner_conn_id, told)
        return account.reading() if requirement.is_met_by(account.credits) else None

    def trigger(self, requirement: CreditRequirement, context: Context) -> CreditsTrigger:
        """Return the trigger that asks the same."""
        from airflow_provider_smspartner.triggers.credits import CreditsTrigger

        return CreditsTrigger(
            min_credits=requirement.min_credits,
            credit_type=requirement.credit_type,
            subtract_pending=requirement.subtract_pending,
            smspartner_conn_id=self.smspartner_conn_id,
            poke_interval=self.poke_interval,
            once=True,
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the reading that the triggerer waited for, or raise the error that ended the wait there."""
        reading = self.reading_of(event)
        self.log.info(
            "SMS Partner connection %r: enough credit since %s", self.smspartner_conn_id, reading["fetched_at"]
        )
        return reading
