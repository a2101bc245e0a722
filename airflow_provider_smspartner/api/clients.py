"""The HTTP client of an event loop, which all accounts share that are asked there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

if TYPE_CHECKING:
    from aiohttp import ClientSession


class _Shared(NamedTuple):
    client: ClientSession
    users: WeakSet[object]


_shared: dict[asyncio.AbstractEventLoop, _Shared] = {}


async def shared_client(user: object) -> ClientSession:
    """
    Return the client of the running event loop: whoever asks next finds a connection to the host that is still open.

    With a client for each of a thousand accounts, a thousand connections would be opened anew at each interval.

    :param user: who asks over it, until ``leave_client`` is called for it
    """
    loop = asyncio.get_running_loop()
    is_first = loop not in _shared
    if is_first:
        _shared[loop] = _Shared(_make_client(), WeakSet())
    client, users = _shared[loop]
    users.add(user)
    if is_first:
        await _close_those_of_ended_loops()
    return client


def users_here() -> int:
    """Return how many ask over the client of the running event loop."""
    shared = _shared.get(asyncio.get_running_loop())
    return len(shared.users) if shared else 0


async def leave_client(user: object) -> None:
    """Close the client of the running event loop, if nobody but this user asks over it."""
    await _close_those_of_ended_loops()
    loop = asyncio.get_running_loop()
    if loop in _shared:
        client, users = _shared[loop]
        users.discard(user)
        if not users:
            del _shared[loop]
            await client.close()


async def _close_those_of_ended_loops() -> None:
    for loop in [loop for loop in _shared if loop.is_closed()]:
        await _shared.pop(loop).client.close()


def _make_client() -> ClientSession:
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, ThreadedResolver

    client = ClientSession(
        # The resolver of this machine, as with requests, even where aiodns is installed. No limit, as an account
        # that answers slowly must not hold the others up.
        connector=TCPConnector(resolver=ThreadedResolver(), limit=0),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None, sock_connect=None),  # `aget` limits the time of the whole
        auto_decompress=False,
        trust_env=False,
    )
    # Else each try is two: aiohttp repeats a GET that fails, as its own test client has to prevent too.
    client._retry_connection = False
    return client
