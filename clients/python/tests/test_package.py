"""What is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from .node import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = ROOT / "clients/python"


def test_the_wheel_has_every_module_and_says_that_it_is_typed(tmp_path: Path) -> None:
    # With the build tool of this environment: a test fetches nothing.
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", tmp_path, PACKAGE], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        packed = {name for name in package.namelist() if not name.startswith("draftwire-")}
        metadata = package.read("draftwire-0.1.0.dist-info/METADATA").decode()
    sources = {path.relative_to(PACKAGE / "src").as_posix() for path in (PACKAGE / "src").rglob("*.py")}
    assert packed == {*sources, "draftwire/py.typed"}
    needed = [
        line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line
    ]
    assert sorted(line.split()[1].split("<")[0].split(">")[0] for line in needed) == ["httpx", "pyjwt"]
    assert "Requires-Python: >=3.10" in metadata
