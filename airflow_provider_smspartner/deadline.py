"""A limit to the whole of a synchronous request: time-outs limit single waits, which are short while a server drips."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool, PoolManager


class DeadlineAdapter(HTTPAdapter):
    """Opens connections that another thread can cut, whatever its own one waits for on them."""

    def __init__(self) -> None:
        self._connections: WeakSet[_Tracked] = WeakSet()
        self._expired = Event()
        super().__init__()

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """
        Cut all connections when the time is up.

        :raises TimeoutError: it was, instead of whatever that led to
        """
        expired = self._expired = Event()
        timer = Timer(seconds, self._cut, [expired])
        timer.daemon = True  # a task that is killed must not wait for it
        timer.start()
        try:
            yield
        except Exception:
            if not expired.is_set():
                raise
        finally:
            timer.cancel()
            for connection in list(self._connections):
                connection.let_go_if_closed()
        if expired.is_set():
            raise TimeoutError

    def opened(self, connection: _Tracked) -> None:
        """Note a connection; cut it at once where the look-up of its host, or a dead address, took all the time."""
        self._connections.add(connection)
        if self._expired.is_set():
            connection.cut()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the connections to servers tracked."""
        super().init_poolmanager(*args, **kwargs)
        self._track(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> PoolManager:
        """Have the connections to proxies tracked."""
        manager: PoolManager = super().proxy_manager_for(*args, **kwargs)
        self._track(manager)
        return manager

    def _track(self, manager: PoolManager) -> None:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _tracking(pool, self) for scheme, pool in pools.items()}

    def _cut(self, expired: Event) -> None:
        expired.set()
        for connection in list(self._connections):
            connection.cut()


def _tracking(pool: type[HTTPConnectionPool], adapter: DeadlineAdapter) -> type[HTTPConnectionPool]:
    """Return a pool like this one, whose connections the adapter knows."""
    if issubclass(pool.ConnectionCls, _Tracked):  # requests asks for the manager of a proxy anew each time
        return pool

    class Connection(_Tracked, pool.ConnectionCls):  # type: ignore[misc, name-defined]
        opened_by = adapter

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


class _Tracked:
    """
    The part of a connection that can be cut.

    TLS takes a socket over before its handshake, and a response may read on after its connection was closed: only a
    duplicate of the socket reaches the line all the time.
    """

    opened_by: DeadlineAdapter
    sock: socket.socket | None
    _duplicate: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._duplicate = connected.dup()
        self.opened_by.opened(self)
        return connected

    def cut(self) -> None:
        if self._duplicate is not None:
            with suppress(OSError):  # the other side has gone already
                self._duplicate.shutdown(socket.SHUT_RDWR)

    def let_go_if_closed(self) -> None:
        if self.sock is None and self._duplicate is not None:
            self._duplicate.close()
            self._duplicate = None
