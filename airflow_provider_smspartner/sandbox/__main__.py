"""The sandbox as a command: ``python -m airflow_provider_smspartner.sandbox``, for a person at a terminal."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from email.message import Message
from threading import Event
from typing import TYPE_CHECKING

from airflow_provider_smspartner.sandbox.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sandbox.server import HOST

if TYPE_CHECKING:
    from airflow_provider_smspartner.sandbox.answers import Answer

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _SpokenSandbox(SMSPartnerSandbox):
    """Tells a person what it answers, and never which key came."""

    def respond(self, method: str, target: str, headers: Message, stopping: Event) -> Answer | None:
        answer = super().respond(method, target, headers, stopping)
        if answer is not None and answer.kind:
            with suppress(BrokenPipeError):  # whoever read the lines has left, and the account is still there
                _say(
                    f"{time.strftime('%H:%M:%S')}  {answer.kind}, balance {self.account.told()} {self.account.currency}"
                )
        return answer

    def introduction(self) -> str:
        by_hand = f"curl -X POST '{self.url.removesuffix('/v1')}/sandbox"
        return f"""SMS Partner sandbox: a stand-in on this machine, not the real API. It sends no SMS and costs nothing.

  URL      {self.url}
  Airflow  export AIRFLOW_CONN_SMSPARTNER_DEFAULT={shlex.quote(self.connection_json())}
  Top up   {by_hand}/top-up?amount=50'
  Spend    {by_hand}/spend?amount=20'
  Fail     {by_hand}/fail?http_status=503&times=2'   (or code=30, drop=true, delay=5; times=all)
  Recover  {by_hand}/recover'

Ctrl-C stops it. Each answer is one line:"""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_smspartner.sandbox",
        description="Run a stand-in for SMS Partner's GET /v1/me on this machine. It is not the real API.",
    )
    parser.add_argument("--balance", default="100", help="what the account holds (default: %(default)s)")
    parser.add_argument("--api-key", default="sandbox-key", help="its key (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8025, help="where to listen (default: %(default)s; 0: any free)")
    parser.add_argument("--currency", default="EUR", help="ISO 4217 code (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox for a person until Ctrl-C or SIGTERM, and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        sandbox = _SpokenSandbox(options.balance, options.api_key, currency=options.currency, port=options.port)
    except ValueError as error:
        parser.error(str(error))
    # Threads inherit the mask, which leaves the signals to sigwait: no handler runs in the middle of anything.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        sandbox.start()
    except OSError as error:
        sys.stderr.write(f"Cannot listen on {HOST}:{options.port} ({error.strerror}): choose another --port.\n")
        return 1
    _say(sandbox.introduction())
    signal.sigwait(STOP_SIGNALS)
    sandbox.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
