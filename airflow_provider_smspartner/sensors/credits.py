"""Hold a campaign back until the account can pay for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_smspartner.account import CreditRequirement, CreditType
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerError

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow.providers.common.compat.sdk import Context


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
    :raises ValueError: the requirement makes no sense, as far as that can be told before templates are rendered
    """

    template_fields: Sequence[str] = ("min_credits", "smspartner_conn_id")
    ui_color = "#d7eef5"

    def __init__(
        self,
        *,
        min_credits: int | Decimal | str,
        credit_type: CreditType | str = CreditType.SMS,
        subtract_pending: bool = False,
        smspartner_conn_id: str = "smspartner_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_credits = min_credits
        self.credit_type = credit_type
        self.subtract_pending = subtract_pending
        self.smspartner_conn_id = smspartner_conn_id
        # What only a template or an upstream task will tell stands in as 0: the rest can be checked now.
        self._requirement(0 if _comes_later(min_credits) else min_credits)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask the account once, and say whether it can pay."""
        from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

        requirement = self._rendered_requirement()
        try:
            account = SMSPartnerHook(self.smspartner_conn_id).get_account()
        except SMSPartnerError as error:
            if not error.retryable:
                raise
            self.log.warning("No reading, not yet: %s", error)
            return PokeReturnValue(is_done=False)
        is_met = requirement.is_met_by(account.credits)
        self.log.info(
            "SMS Partner connection %r: %s: %s",
            self.smspartner_conn_id,
            requirement.describe(account.credits),
            "enough" if is_met else "not yet",
        )
        return PokeReturnValue(is_done=is_met, xcom_value=account.reading() if is_met else None)

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
