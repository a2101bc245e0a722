"""What kept Airflow from a connection that it was to look up: no word of another's error, as it may quote a secret."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException

from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerUnavailableError,
)


def look_up_error(exc: Exception, conn_id: str, create: str) -> SMSPartnerError:
    """
    Return our error for Airflow's; raise it outside of the except, as Airflow may quote the URI, and so the key.

    :param create: what to do about a connection that is not there
    """
    failed = _failed_behind(conn_id) if isinstance(exc, AirflowNotFoundException) else exc
    if failed is None:
        return SMSPartnerConfigurationError(f"there is no such connection: {create}")
    if isinstance(failed, PermissionError):
        return SMSPartnerConfigurationError("a secrets backend denies it to this task: allow it there")
    if isinstance(failed, AirflowException | ValueError | TypeError):
        return SMSPartnerConfigurationError("it cannot be read: write it as a JSON object, or as a URI")
    # Airflow's API or a secrets backend is away.
    return SMSPartnerUnavailableError(f"Airflow could not look it up ({type(failed).__name__}); it may pass by itself")


def _failed_behind(conn_id: str) -> Exception | None:
    """
    Return what failed in a look-up that is said to have found nothing; None where there is no such connection.

    Airflow says "not found", too, where a secrets backend or its own API has failed.
    """
    for backend in _backends():
        asks_the_api = type(backend).__name__ == "ExecutionAPISecretsBackend"
        try:
            found = _ask_the_api(conn_id) if asks_the_api else backend.get_connection(conn_id)
        except Exception as exc:  # noqa: BLE001  # secrets backends raise what they like
            return exc
        if found is not None:
            return LookupError()  # it was away a moment ago
    return None


def _backends() -> list[Any]:
    try:
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
    except ImportError:  # Airflow 2
        from airflow.configuration import ensure_secrets_loaded

        return ensure_secrets_loaded()
    return ensure_secrets_backend_loaded()


def _ask_the_api(conn_id: str) -> object:
    """Ask as that backend does, which drops the errors that it is told."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection

    answer = task_runner.SUPERVISOR_COMMS.send(GetConnection(conn_id=conn_id))
    if not isinstance(answer, ErrorResponse):
        return answer
    if answer.error.value != "CONNECTION_NOT_FOUND":
        raise ConnectionError
    return None
