"""The examples of the documentation, run as they stand there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from draftwire import Draftwire

from .node import ROOT, SECRET, Node

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("page", "examples_min"), [("clients/python/README.md", 6), ("docs/backends.md", 3)])
def test_the_examples_run(
    page: str, examples_min: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = EXAMPLE.findall((ROOT / page).read_text())
    assert len(examples) >= examples_min
    with Node(tmp_path) as node:
        monkeypatch.setenv("JWT_SECRET", SECRET)
        monkeypatch.chdir(tmp_path)
        names: dict[str, object] = {}
        for number, example in enumerate(examples):
            code = example.replace("http://127.0.0.1:8080", node.url)
            exec(compile(code, f"{page}, example {number + 1}", "exec"), names)
        # A server keeps its client for as long as it runs.
        client = names["dw"]
        assert isinstance(client, Draftwire)
        client.close()
