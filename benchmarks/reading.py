"""One reading of an account by a hook that is kept, compared with the bare GET of a kept session."""

from __future__ import annotations

from dataclasses import dataclass

import requests
from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from benchmarks.accounts import connections, serve
from benchmarks.measure import Line, interleave, ratio_line


@dataclass(frozen=True)
class Size:
    """How often each side reads."""

    rounds: int


FULL, QUICK = Size(rounds=2000), Size(rounds=5)


def measure(size: Size) -> list[Line]:
    """Return this package against the baseline, and against the hook of the http provider."""
    with (
        serve("benchmark-key") as (account,),
        connections({"account": account.connection(), "peer": account.http_connection()}),
        requests.Session() as session,
    ):
        hook, peer = SMSPartnerHook("account"), HttpHook("GET", "peer")

        def bare() -> object:
            return session.get(f"{account.url}/me", params={"apiKey": account.key}, timeout=10).json()

        def through_http_hook() -> object:
            return peer.run("me", data={"apiKey": account.key}, extra_options={"timeout": 10}).json()

        sides = {"package": hook.get_account, "bare": bare, "peer": through_http_hook}
        interleave(sides, rounds=3)
        took = interleave(sides, size.rounds)
    figure = "one reading by a live hook"
    return [
        ratio_line(figure, "bare requests", took["package"], ("baseline", took["bare"]), 1.3),
        ratio_line(figure, "HttpHook", took["package"], ("peer", took["peer"]), None),
    ]
