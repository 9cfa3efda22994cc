"""A device on a WebSocket (RFC 6455), as small as these tests need it."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from .node import DEADLINE

if TYPE_CHECKING:
    from types import TracebackType

    from .node import Node

TEXT, CLOSE = 1, 8


class Device:
    """A connection of a user."""

    def __init__(self, node: Node, token: str, device: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", node.port), DEADLINE)
        self._received = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws/realtime?device={device} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._read(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert self.next()["type"] == "WELCOME"

    def send(self, kind: str, payload: object) -> None:
        """Sends a command."""
        text = json.dumps({"type": kind, "id": kind, "payload": payload}).encode()
        assert len(text) < 126
        # The mask of zeros changes nothing.
        self._socket.sendall(bytes([0x80 | TEXT, 0x80 | len(text)]) + bytes(4) + text)

    def next(self) -> dict[str, Any]:
        """Returns the next message."""
        while True:
            opcode, payload = self._frame()
            assert opcode != CLOSE, payload
            if opcode == TEXT:
                message: dict[str, Any] = json.loads(payload)
                return message

    def closed(self) -> tuple[int, str]:
        """Waits until the server closes: the code and the reason."""
        while True:
            opcode, payload = self._frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def _frame(self) -> tuple[int, bytes]:
        first, length = self._read(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        return first & 0x0F, self._read(length)

    def _read(self, count: int) -> bytes:
        while len(self._received) < count:
            received = self._socket.recv(4096)
            assert received, "the connection has ended"
            self._received += received
        read, self._received = self._received[:count], self._received[count:]
        return read

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
