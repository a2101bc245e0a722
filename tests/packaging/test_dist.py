"""What a release would ship, as ``make check`` built it: the sdist from the tree, and the wheel from that sdist."""

from __future__ import annotations

import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from airflow_provider_smspartner import __version__

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_smspartner"


@pytest.fixture
def wheel() -> ZipFile:
    path = ROOT / "dist" / f"{PACKAGE}-{__version__}-py3-none-any.whl"
    assert path.exists(), "this is a test of what `make check` builds"
    return ZipFile(path)


def test_the_wheel_holds_only_our_package(wheel: ZipFile) -> None:
    assert {Path(name).parts[0] for name in wheel.namelist()} == {PACKAGE, f"{PACKAGE}-{__version__}.dist-info"}


def test_the_wheel_holds_every_file_of_the_package_as_it_is(wheel: ZipFile) -> None:
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", PACKAGE], cwd=ROOT, text=True
    ).split()
    shipped = {name: wheel.read(name) for name in wheel.namelist() if Path(name).parts[0] == PACKAGE}
    assert shipped == {name: (ROOT / name).read_bytes() for name in listed}


def test_the_wheel_is_typed_and_carries_its_licence(wheel: ZipFile) -> None:
    assert {f"{PACKAGE}/py.typed", f"{PACKAGE}-{__version__}.dist-info/licenses/LICENSE"} <= set(wheel.namelist())
