"""A private Postgres."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .node import DEADLINE, free_port, wait_until

if TYPE_CHECKING:
    from types import TracebackType

OTHER_USERS = ("postgres", "nobody")
"""Who may run it where the tests run as root, which it refuses."""


def program(name: str) -> str:
    """The path of one of its programs, which Debian has outside of a user's path."""
    folders = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    assert found, f"{name} is missing: testkit/install"
    return found


class Postgres:
    """A server in a temporary folder, fast and durable in nothing."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="draftwire-postgres-"))
        self.port = free_port()
        self._run_as: dict[str, str | list[str]] = {}
        if os.getuid() == 0:
            user = next(each for each in pwd.getpwall() if each.pw_name in OTHER_USERS)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._run_as = {"user": user.pw_name, "extra_groups": []}
        data = self._folder / "data"
        self._run(
            "initdb", "--pgdata", data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )
        self._process = self._start(data)
        wait_until(self._answers, "Postgres answers", (self._folder / "log").read_text)

    def url(self, user: str = "postgres") -> str:
        """The address of its database, for a user."""
        return f"postgres://{user}@127.0.0.1:{self.port}/postgres"

    def execute(self, sql: str) -> str:
        """Runs SQL as its administrator, and returns the rows as text."""
        arguments = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        command = [program("psql"), *arguments, "--dbname", self.url(), "--command", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def _run(self, name: str, *arguments: str | Path) -> None:
        subprocess.run(
            [program(name), *arguments],
            check=True,
            capture_output=True,
            cwd=self._folder,
            **self._run_as,  # type: ignore[call-overload]
        )

    def _start(self, data: Path) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
                [program("postgres"), "-D", data, *options],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                **self._run_as,
            )

    def _answers(self) -> bool:
        assert self._process.poll() is None
        command = [program("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(command, check=False).returncode == 0

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # At once, whoever is connected.
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(DEADLINE)
        shutil.rmtree(self._folder)
