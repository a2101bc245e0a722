"""A limit to the whole of a synchronous request: time-outs limit single waits, which are short while a server drips."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from requests import PreparedRequest
    from urllib3 import HTTPConnectionPool, PoolManager
    from urllib3.connection import HTTPConnection


class _Watch:
    """
    Calls what must be cut when its time is up.

    From one thread for all, which sleeps while requests come and go, and ends when it finds none: to start a thread for
    each would take a quarter of a request.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._deadlines: dict[Callable[[], None], float] = {}
        self._wakes_at = 0.0
        self._thread: Thread | None = None

    @contextmanager
    def limit(self, seconds: float, cut: Callable[[], None]) -> Iterator[None]:
        """Call ``cut`` in that many seconds, unless this is left before."""
        at = monotonic() + seconds
        with self._changed:
            self._deadlines[cut] = at
            if self._thread is None:
                # A daemon: a task that ends must not wait for it.
                self._thread = Thread(target=self._run, name="smspartner-deadlines", daemon=True)
                self._thread.start()
            elif at < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._deadlines.pop(cut, None)

    def _run(self) -> None:
        with self._changed:
            while self._deadlines:
                self._wakes_at = min(self._deadlines.values())
                self._changed.wait(self._wakes_at - monotonic())
                now = monotonic()
                for cut in [cut for cut, at in self._deadlines.items() if at <= now]:
                    del self._deadlines[cut]
                    cut()
            self._thread = None


_watch = _Watch()


def _watch_anew() -> None:
    """Give a forked process a thread of its own: a fork takes over the one that forks alone."""
    global _watch  # noqa: PLW0603
    _watch = _Watch()


os.register_at_fork(after_in_child=_watch_anew)


class DeadlineAdapter(HTTPAdapter):
    """
    Opens connections that another thread can cut, whatever its own one waits for on them.

    TLS takes a socket over before its handshake, and a response may read on after its connection was closed: only a
    duplicate of the socket reaches the line all the time. It lives as long as the request, as each is a descriptor.

    :param tls: the context of all its connections, in place of one that requests would make for each
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._connections: WeakSet[HTTPConnection] = WeakSet()
        self._duplicates: list[socket.socket] | None = None
        self._expired = Event()
        super().__init__()

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """
        Cut all connections when the time is up.

        :raises TimeoutError: it was, instead of whatever that led to
        """
        expired = self._expired = Event()
        duplicates = self._duplicates = [_duplicate(kept.sock) for kept in self._connections if kept.sock is not None]

        def cut() -> None:
            expired.set()
            for duplicate in list(duplicates):
                _shut_down(duplicate)

        try:
            with _watch.limit(seconds, cut):
                yield
        except Exception:
            if not expired.is_set():
                raise
        finally:
            self._duplicates = None
            for duplicate in duplicates:
                duplicate.close()
        if expired.is_set():
            raise TimeoutError

    def opened(self, connection: HTTPConnection, connected: socket.socket) -> None:
        """Note a connection; cut it at once where the look-up of its host, or a dead address, took all the time."""
        self._connections.add(connection)
        if self._duplicates is not None:
            self._duplicates.append(_duplicate(connected))
            if self._expired.is_set():
                _shut_down(connected)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the connections to servers tracked."""
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self._track(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> PoolManager:
        """Have the connections to proxies tracked."""
        manager: PoolManager = super().proxy_manager_for(
            proxy, ssl_context=self._tls, proxy_ssl_context=self._tls, **kwargs
        )
        self._track(manager)
        return manager

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: object, cert: object = None
    ) -> tuple[Any, Any]:
        """Leave certificates to the context: what requests would say of them here comes before it."""
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {}

    def cert_verify(self, *_: object) -> None:
        """Leave certificates to the context here too."""

    def _track(self, manager: PoolManager) -> None:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _tracking(pool, self) for scheme, pool in pools.items()}


def _tracking(pool: type[HTTPConnectionPool], adapter: DeadlineAdapter) -> type[HTTPConnectionPool]:
    """Return a pool like this one, which tells the adapter of its connections."""
    if issubclass(pool, _Tracking):  # requests asks for the manager of a proxy anew each time
        return pool

    class Connection(pool.ConnectionCls):  # type: ignore[misc, name-defined]
        def _new_conn(self) -> socket.socket:
            connected: socket.socket = super()._new_conn()
            adapter.opened(self, connected)
            return connected

    return type(pool.__name__, (_Tracking, pool), {"ConnectionCls": Connection})


class _Tracking:
    """Marks the pools that tell an adapter of their connections."""


def _duplicate(connected: socket.socket) -> socket.socket:
    """Duplicate a socket by its number, as one with TLS refuses to be."""
    return socket.socket(fileno=os.dup(connected.fileno()))


def _shut_down(duplicate: socket.socket) -> None:
    with suppress(OSError):  # the other side has gone already
        duplicate.shutdown(socket.SHUT_RDWR)
