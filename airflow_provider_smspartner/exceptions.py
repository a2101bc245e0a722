"""The errors of this provider: the class says what went wrong, and whether it is transient."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException


class SMSPartnerError(AirflowException):
    """
    Base of every error that this provider raises.

    The text is fit for a log and for a web page: it never holds the API key, a URL, or a word of a foreign answer.

    :param message: what was wrong and what to do about it
    :param code: the API's own code, where the answer had one
    :param http_status: the HTTP status, where there was an answer
    """

    retryable: bool = True
    """Whether it is transient. Where it is permanent, the class is an ``AirflowFailException`` too: no task retries."""

    retry_after: float | None = None
    """Seconds that the server asked to wait, which only an ``SMSPartnerUnavailableError`` can tell."""

    conn_id: str | None = None
    """The Airflow connection it happened on. The hook fills it in: the protocol knows of no connections."""

    def __init__(self, message: str, *, code: int | None = None, http_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.http_status = http_status

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.conn_id is None else f"SMS Partner connection {self.conn_id!r}: {message}"

    def as_event(self) -> dict[str, Any]:
        """Return the error JSON-simple, as an event carries it from the triggerer to a worker."""
        return {
            "class": type(self).__name__,
            "message": str(self.args[0]),
            "code": self.code,
            "http_status": self.http_status,
            "conn_id": self.conn_id,
        }


class SMSPartnerConfigurationError(SMSPartnerError, AirflowFailException):
    """Raise when the Airflow side is set up wrongly: a missing key, a bad extra, a certificate that does not verify."""

    retryable = False


class SMSPartnerArgumentError(SMSPartnerConfigurationError, ValueError, TypeError):
    """
    Raise when an argument makes no sense, as early as that is known.

    A ``ValueError``, as Python's own. A ``TypeError`` too, since that is all that a triggerer survives in a trigger's
    constructor: any other class ends the process, and every deferred task with it.
    """


class SMSPartnerAccessError(SMSPartnerError, AirflowFailException):
    """Raise when SMS Partner refuses the account: codes 1, 10, 20, 30, 40, 96, or HTTP 401 or 403."""

    retryable = False


class SMSPartnerUnavailableError(SMSPartnerError):
    """Raise when no answer came, or one that says to come back later: broken off, timed out, 408, 425, 429, 5xx."""


class SMSPartnerResponseError(SMSPartnerError):
    """Raise when the answer holds no readable credits: not JSON or XML, no ``credits``, an unknown code."""


class SMSPartnerRejectedError(SMSPartnerResponseError, AirflowFailException):
    """Raise on any other HTTP 4xx: the request itself is refused, as one to a wrong address is, and stays refused."""

    retryable = False


_FINAL_CLASSES = {
    error_class.__name__: error_class
    for error_class in (
        SMSPartnerConfigurationError,
        SMSPartnerArgumentError,
        SMSPartnerAccessError,
        SMSPartnerRejectedError,
    )
}


def from_event(event: dict[str, Any]) -> SMSPartnerError:
    """Return the error that ``as_event`` took apart: one that ended a wait, and so a permanent one."""
    # So is one of a class that only the triggerer's version knows.
    error_class = _FINAL_CLASSES.get(event["class"], SMSPartnerRejectedError)
    error: SMSPartnerError = error_class(event["message"], code=event["code"], http_status=event["http_status"])
    error.conn_id = event["conn_id"]
    return error
