"""A scriptable ``GET /v1/me`` on loopback: SMS Partner has no sandbox for it, and DAGs want one to be tested with."""

from airflow_provider_smspartner.sandbox.sandbox import SMSPartnerSandbox

__all__ = ["SMSPartnerSandbox"]
