"""Real nodes for the tests, each a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ROOT: Final = Path(__file__).resolve().parents[3]
SECRET: Final = "the secret of the nodes in these tests"
DEADLINE: Final = 60.0
"""How long the tests wait for anything, in seconds."""


def binary() -> Path:
    """The server: `DRAFTWIRE_BIN`, or what Cargo has built."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("DRAFTWIRE_BIN", target / "debug" / "draftwire")).resolve()
    assert path.exists(), f"{path} is missing: cargo build --bin draftwire, or set DRAFTWIRE_BIN"
    return path


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Node:
    """An embedded node in a folder; it can be killed, and started again on the same port."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port, self.metrics_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, data: str = "data") -> None:
        """Starts it, and waits until it is ready."""
        settings = {
            "DATA_DIR": str(self.folder / data),
            "LISTEN_ADDR": f"127.0.0.1:{self.port}",
            "METRICS_ADDR": f"127.0.0.1:{self.metrics_port}",
            "JWT_SECRET": SECRET,
            **self._settings,
        }
        # A setting in the developer's shell is none of the test's.
        environment = {name: value for name, value in settings.items() if value}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary(), "serve"], cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        wait_until(self._is_ready, "the node is ready", self.log)

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        """Ends it at once, without a chance to answer what it is doing."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Lets it drain and end."""
        self._end(signal.SIGTERM)

    def metric(self, name: str) -> float:
        """The value of a metric with its labels, zero when it is not there yet."""
        metrics = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        lines = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(DEADLINE)
            self._process = None

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def wait_until(condition: Callable[[], bool], what: str, details: Callable[[], str] = str) -> None:
    """Waits for a condition that something outside of the test brings about."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {DEADLINE} s; {details()}"
        time.sleep(0.02)
