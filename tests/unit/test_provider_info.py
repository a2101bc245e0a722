"""What Airflow discovers of this package, and what that costs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import airflow
import jsonschema
import pytest

from airflow_provider_smspartner import __version__
from airflow_provider_smspartner.get_provider_info import get_provider_info

ROOT = Path(__file__).parents[2]


def listed_modules() -> set[str]:
    info = get_provider_info()
    return {
        module
        for kind in ("hooks", "sensors", "operators", "triggers")
        for entry in info.get(kind, [])
        for module in entry["python-modules"]
    }


def test_it_is_valid_against_the_schema_that_airflow_ships() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_form_is_valid_against_the_schema_of_connection_types() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider.yaml.schema.json").read_text())
    jsonschema.validate(get_provider_info()["connection-types"], schema["properties"]["connection-types"])


def test_every_module_of_hooks_sensors_and_operators_is_listed() -> None:
    package = ROOT / "airflow_provider_smspartner"
    there = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for kind in ("hooks", "sensors", "operators", "triggers")
        for path in (package / kind).glob("[!_]*.py")
        if path.stem not in {"connection_form", "gate", "memory", "readings", "wait"}  # which these are made of
    }
    assert listed_modules() == there
    for module in there:
        import_module(module)


def test_every_guide_that_is_listed_exists() -> None:
    guides = [guide for integration in get_provider_info()["integrations"] for guide in integration["how-to-guide"]]
    assert guides
    assert [guide for guide in guides if not (ROOT / guide.removeprefix("/")).is_file()] == []


def test_airflow_lists_the_provider_and_its_hook() -> None:
    program = """
import sys
from airflow.__main__ import main
for command in ("list", "hooks", "get airflow-provider-smspartner"):
    sys.argv = ["airflow", "providers", *command.split(), "--output", "json"]
    main()
"""
    listed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    providers, hooks, (provider,) = (json.loads(line) for line in listed.splitlines() if line.startswith("["))
    assert "airflow-provider-smspartner" in {each["package_name"] for each in providers}
    assert provider["Version"] == __version__
    (hook,) = [hook for hook in hooks if hook["connection_type"] == "smspartner"]
    assert hook["hook_name"] == "SMS Partner"
    assert hook["conn_id_attribute_name"] == "smspartner_conn_id"


def test_airflow_shows_the_form_that_is_declared() -> None:
    # In a process of its own: Airflow 3.0 and 3.1 replace modules to ask for it.
    program = "import json, tests.airflow_versions as it; print(json.dumps(it.connection_form('smspartner')))"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (declared,) = get_provider_info()["connection-types"]
    behaviour = declared["ui-field-behaviour"]
    assert json.loads(shown.splitlines()[-1]) == {
        "extras": {name: [field["label"], field["description"]] for name, field in declared["conn-fields"].items()},
        "hidden": sorted(behaviour["hidden-fields"]),
        "titles": behaviour["relabeling"],
        "placeholders": behaviour["placeholders"],
    }


IMPORTED = (
    "sensors.credits",
    "sensors.reservations",
    "operators.credits",
    "operators.forecast",
    "operators.reservations",
    "get_provider_info",
    "hooks.smspartner",
    "hooks.reservations",
)


@pytest.fixture(scope="module")
def added() -> dict[str, list[str]]:
    """Return what an import of each module loads besides Airflow, which is imported once, and forked for each."""
    program = f"""
import os, sys
from importlib import import_module
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
before = set(sys.modules)
for module in {IMPORTED}:
    if not os.fork():
        import_module("airflow_provider_smspartner." + module)
        print(module, *sorted(set(sys.modules) - before), flush=True)
        os._exit(0)
    os.wait()
"""
    listed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return {module: names for module, *names in map(str.split, listed.splitlines())}


@pytest.mark.parametrize("module", IMPORTED)
def test_what_a_dag_file_imports_brings_no_heavy_library_along(added: dict[str, list[str]], module: str) -> None:
    heavy = {"requests", "aiohttp", "sqlalchemy", "tenacity", "xml.etree", "urllib3", "airflow.providers.common.sql"}
    assert heavy.isdisjoint(added[module])
    # Some Airflows, and Pythons, bring a module or two more of their own.
    brought = [name for name in added[module] if name.partition(".")[0] not in {"airflow", *sys.stdlib_module_names}]
    assert len(brought) <= (16 if module.startswith("hooks.") else 14)
