"""A private Nginx in front of a node."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from .node import DEADLINE, free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{node};
        }}
    }}
}}
"""


class Nginx:
    """Passes requests on to a port of this machine."""

    def __init__(self, folder: Path, node: int) -> None:
        # Debian has it outside of a user's path.
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "nginx is missing: testkit/install"
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        # Its workers are of another user where it runs as root.
        folder.chmod(0o755)
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, port=self._port, node=node))
        self._process = subprocess.Popen([program, "-c", config, "-e", folder / "error.log"])
        wait_until(self._listens, "Nginx listens")

    def answered(self, status: int) -> int:
        """How many requests were answered with a status."""
        return (self._folder / "access.log").read_text().count(f'" {status} ')

    def _listens(self) -> bool:
        assert self._process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def __enter__(self) -> Nginx:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)
