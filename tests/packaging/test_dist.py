"""What a release would ship, as ``make check`` built it: the sdist from the tree, and the wheel from that sdist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

from airflow_provider_smspartner import __version__
from tests.conftest import ENVIRONMENT

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_smspartner"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def built_wheel() -> Path:
    path = ROOT / "dist" / f"{PACKAGE}-{__version__}-py3-none-any.whl"
    assert path.exists(), "this is a test of what `make check` builds"
    return path


def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def shipped() -> dict[str, bytes]:
    return contents(built_wheel())


@pytest.fixture
def metadata(shipped: dict[str, bytes]) -> Message:
    return message_from_bytes(shipped[f"{PACKAGE}-{__version__}.dist-info/METADATA"])


def test_the_wheel_holds_only_our_package(shipped: dict[str, bytes]) -> None:
    assert {Path(name).parts[0] for name in shipped} == {PACKAGE, f"{PACKAGE}-{__version__}.dist-info"}


def test_the_wheel_holds_every_file_of_the_package_as_it_is(shipped: dict[str, bytes]) -> None:
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", PACKAGE], cwd=ROOT, text=True
    ).split()
    ours = {name: content for name, content in shipped.items() if Path(name).parts[0] == PACKAGE}
    assert ours == {name: (ROOT / name).read_bytes() for name in listed}


def test_the_wheel_is_typed_and_carries_its_licence(shipped: dict[str, bytes]) -> None:
    assert {f"{PACKAGE}/py.typed", f"{PACKAGE}-{__version__}.dist-info/licenses/LICENSE"} <= set(shipped)


def test_the_sdist_builds_the_same_wheel_as_the_tree(shipped: dict[str, bytes], tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-qq", "--outdir", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True)
    assert contents(tmp_path / built_wheel().name) == shipped


def test_the_sdist_holds_the_documentation_the_examples_and_the_changelog() -> None:
    listed = subprocess.check_output(["git", "ls-files", "docs", "example_dags"], cwd=ROOT, text=True).split()
    top = f"{PACKAGE}-{__version__}/"
    with tarfile.open(ROOT / "dist" / f"{PACKAGE}-{__version__}.tar.gz") as archive:
        held = {name.removeprefix(top) for name in archive.getnames()}
    assert {*listed, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "README.md", "LICENSE"} <= held
    assert not [name for name in held if "__pycache__" in name]


def test_the_metadata_is_of_a_version_that_last_year_s_tools_take(metadata: Message) -> None:
    assert metadata["Metadata-Version"] == "2.4"


def test_the_metadata_says_what_an_index_and_its_readers_look_for(metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("airflow-provider-smspartner", __version__)
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata.get_all("Provides-Extra") == sorted(PROJECT["optional-dependencies"])
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    assert urls == PROJECT["urls"]
    assert all(url.startswith("https://") for url in urls.values())
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text().strip()


def test_every_version_of_a_release_has_its_heading_in_the_changelog() -> None:
    """A development version has none: what it brings stands under "Unreleased"."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased" if "dev" in __version__ else __version__)


IMPORT_EVERYTHING = """
import json
from importlib import import_module
from importlib.metadata import distribution

(entry_point,) = distribution("airflow-provider-smspartner").entry_points.select(group="apache_airflow_provider")
info = entry_point.load()()
named = [*info["cli"], *info["extra-links"], *(kind["hook-class-name"] for kind in info["connection-types"])]
for module, _, name in (each.rpartition(".") for each in named):
    getattr(import_module(module), name)
listed = [module for kind in ("hooks", "sensors", "operators", "triggers") for module in info[kind]]
for module in [module for entry in listed for module in entry["python-modules"]]:
    import_module(module)
print(json.dumps([info["package-name"], len(named), len(listed)]))
"""


def test_everything_that_the_provider_lists_imports_in_an_empty_environment(tmp_path: Path) -> None:
    """One that holds the wheel and what it asks for, and nothing that the tests or the tree would lend it."""
    uv, python = Path(sys.executable).with_name("uv"), tmp_path / "empty" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "empty"], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python, "--constraints", ROOT / "constraints" / "dev.txt"]
    subprocess.run([*install, built_wheel()], env=ENVIRONMENT, check=True)
    environment = {"PATH": str(python.parent), "AIRFLOW_HOME": str(tmp_path / "home")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run(python, "-I", "-c", IMPORT_EVERYTHING)) == ["airflow-provider-smspartner", 3, 4]
    providers = json.loads(run(python.with_name("airflow"), "providers", "list", "--output", "json").splitlines()[-1])
    assert {"airflow-provider-smspartner": __version__}.items() <= {
        each["package_name"]: each["version"] for each in providers
    }.items()
    run(uv, "pip", "check", "--quiet", "--python", python)
