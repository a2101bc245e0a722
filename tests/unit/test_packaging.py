"""What the package promises as a whole: how it is found, how it hangs together, what its files give away."""

from __future__ import annotations

import ast
import subprocess
import tomllib
import warnings
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_smspartner

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_smspartner"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCREEN_LINES = 45

# Put together here, so that this file is free of them too.
REGISTRY_HOSTS = [".".join(labels) for labels in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
MACHINE_PATHS = ["/".join(("", *parts, "")) for parts in (("work",), ("root",), ("opt", "pypi"), ("opt", "wheels"))]


def modules() -> dict[str, ast.Module]:
    """Return the package's modules by their dotted names."""
    paths = sorted(PACKAGE.rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: ast.parse(path.read_text()) for name, path in zip(names, paths, strict=True)}


def imports(module: ast.Module) -> Iterator[str]:
    """Yield what a module may import, wherever in it, with the names after ``from x import`` as modules too."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_airflow_finds_the_provider_under_the_name_of_its_distribution() -> None:
    (entry_point,) = distribution(PROJECT["name"]).entry_points.select(group="apache_airflow_provider")
    assert entry_point.load()()["package-name"] == PROJECT["name"]


def test_the_version_stands_in_the_package_alone() -> None:
    assert "version" in PROJECT["dynamic"]
    assert distribution(PROJECT["name"]).version == airflow_provider_smspartner.__version__


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {name: {to for to in imports(module) if to != name} for name, module in modules().items()}
    TopologicalSorter(graph).prepare()


def wing(module: str) -> str:
    """Return the part of the house that a module lies in: its folder, or its own name on the package's first floor."""
    return ([*module.split("."), ""])[1]


ROOMS = {
    "": set(),
    "exceptions": set(),
    "arguments": {"exceptions"},
    "retries": set(),
    "look_ups": {"exceptions"},
    "account": {"arguments", "exceptions"},
    "reservation": {"account", "exceptions"},
    "forecast": {"account", "arguments"},
    "sandbox": {"sandbox"},
    "api": {"", "account", "api", "exceptions"},
    "sql": {"account", "arguments", "exceptions", "forecast", "look_ups", "metrics", "reservation", "retries", "sql"},
    "links": set(),
    "metrics": {"account", "exceptions"},
    "get_provider_info": set(),
    "hooks": {
        "account",
        "arguments",
        "api",
        "exceptions",
        "get_provider_info",
        "hooks",
        "look_ups",
        "metrics",
        "reservation",
        "retries",
        "sql",
    },
    "lineage": {"hooks", "sql"},
    "triggers": {"account", "arguments", "exceptions", "hooks", "metrics", "reservation", "sql", "triggers"},
    "sensors": {
        "account",
        "arguments",
        "exceptions",
        "hooks",
        "lineage",
        "links",
        "metrics",
        "reservation",
        "sensors",
        "triggers",
    },
    "operators": {"account", "arguments", "exceptions", "forecast", "hooks", "lineage", "metrics", "operators", "sql"},
    "plugins": {
        "account",
        "arguments",
        "exceptions",
        "forecast",
        "hooks",
        "links",
        "plugins",
        "reservation",
        "sensors",
        "sql",
    },
    "cli": {"account", "arguments", "exceptions", "hooks", "operators", "reservation", "sql"},
}
"""What each part of the package may import of it: arrows point down, and api and sql meet only in what stands above."""


def test_arrows_point_down_and_the_two_wings_never_meet() -> None:
    found = modules()
    ours = {name: [to for to in imports(module) if to in found] for name, module in found.items()}
    assert {wing(name) for name in ours} == set(ROOMS)
    astray = [
        f"{name} -> {to}" for name, all_to in ours.items() for to in all_to if wing(to) not in {*ROOMS[wing(name)], ""}
    ]
    assert astray == []


NO_IO = {"requests", "aiohttp", "urllib3", "socket", "ssl", "sqlalchemy", "airflow.providers.common.sql"}


@pytest.mark.parametrize("name", ["account", "arguments", "exceptions", "api.protocol"])
def test_what_does_no_io_imports_nothing_that_does(name: str) -> None:
    imported = set(imports(modules()[f"airflow_provider_smspartner.{name}"]))
    assert {to for to in imported if any(to == io or to.startswith(f"{io}.") for io in NO_IO)} == set()


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_a_deprecation_that_the_package_causes_is_an_error_in_a_test(category: type[Warning]) -> None:
    where: Any = {"filename": "credits.py", "lineno": 1, "module": "airflow_provider_smspartner.sensors.credits"}
    with pytest.raises(category):
        warnings.warn_explicit("on its way out", category, **where)


def test_every_function_fits_a_screen() -> None:
    functions = [
        (name, node)
        for name, module in modules().items()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert functions
    lines = {f"{name}.{node.name}": node.end_lineno - node.lineno + 1 for name, node in functions if node.end_lineno}
    assert {name: count for name, count in lines.items() if count > SCREEN_LINES} == {}


def test_no_file_names_a_package_registry_or_a_path_of_this_machine() -> None:
    patterns = [f"-e{needle}" for needle in REGISTRY_HOSTS + MACHINE_PATHS]
    found = subprocess.run(
        ["git", "grep", "--untracked", "--fixed-strings", "--ignore-case", "-n", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("", "")
    assert found.returncode == 1, "git grep's word for: looked, and found nothing"
