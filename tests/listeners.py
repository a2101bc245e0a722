"""Where Airflow's metrics go: a StatsD server and an OpenTelemetry collector on loopback, which keep what they get."""

from __future__ import annotations

import gzip
import socket
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Received = dict[str, list[float]]
"""The values of each series in the order in which they came; tags follow its name: ``balance{conn_id=paris}``."""

HOST = "127.0.0.1"


class StatsD:
    """What a StatsD server got, as plain StatsD: it knows no tags."""

    def __init__(self) -> None:
        self.received: Received = defaultdict(list)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._thread = Thread(target=self._listen)

    @property
    def settings(self) -> dict[str, str]:
        """Airflow's settings that lead here."""
        told = {"statsd_on": "True", "statsd_host": HOST, "statsd_port": str(self._socket.getsockname()[1])}
        return {f"metrics__{name}": value for name, value in told.items()}

    def __enter__(self) -> StatsD:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take what has arrived, and close."""
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while datagram := self._socket.recv(65536):
            for line in datagram.decode().splitlines():
                name, _, told = line.partition(":")
                self.received[name.removeprefix("airflow.")].append(float(told.partition("|")[0]))


class Collector:
    """What an OpenTelemetry collector got over HTTP: of a gauge the last value, of a counter and a timer the sum."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, int], float] = {}
        self._lock = Lock()
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())

    @property
    def received(self) -> Received:
        """The value of each series in each process that has sent it."""
        with self._lock:
            received: Received = defaultdict(list)
            for (series, _), value in self._points.items():
                received[series].append(value)
            return received

    @property
    def settings(self) -> dict[str, str]:
        """Airflow's settings that lead here."""
        port = str(self._server.server_port)
        told = {"otel_on": "True", "otel_host": HOST, "otel_port": port, "otel_interval_milliseconds": "10000"}
        return {f"metrics__{name}": value for name, value in told.items()}

    def __enter__(self) -> Collector:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        with self._lock:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    for begin, series, value in _points(metric):
                        self._points[series, begin] = value

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector._take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _points(metric: Any) -> Iterator[tuple[int, str, float]]:
    """Yield when each point's series began, which tells the processes apart, its name with tags, and its value."""
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        tags = ",".join(f"{tag.key}={tag.value.string_value}" for tag in point.attributes)
        name = metric.name.removeprefix("airflow.")
        value = point.sum if kind.endswith("histogram") else getattr(point, point.WhichOneof("value"))
        yield point.start_time_unix_nano, f"{name}{{{tags}}}" if tags else name, float(value)
