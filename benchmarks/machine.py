"""What the figures depend on: the machine, what it does meanwhile, and the versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = {
    "Airflow": "apache-airflow",
    "http provider": "apache-airflow-providers-http",
    "SQLAlchemy": "sqlalchemy",
    "requests": "requests",
    "aiohttp": "aiohttp",
}


def describe() -> dict[str, str]:
    """Return what a reader needs to compare figures with others."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(package) for name, package in PACKAGES.items()},
    }


def load() -> str:
    """Return the load averages of the last 1, 5 and 15 minutes."""
    return ", ".join(f"{average:.1f}" for average in os.getloadavg())


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
