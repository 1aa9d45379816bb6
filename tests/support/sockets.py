"""The TCP connections of a process, as the kernel knows them (Linux)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

_ESTABLISHED = "01"


class Connection(NamedTuple):
    local_port: int
    remote_port: int


def connections(pid: int) -> list[Connection]:
    """Those that are established."""
    inodes = _socket_inodes(pid)
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text("ascii").splitlines()[1:]:
            _, local, remote, state, *rest = line.split()
            if state == _ESTABLISHED and rest[5] in inodes:
                found.append(Connection(_port(local), _port(remote)))
    return found


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            kind, _, inode = os.readlink(descriptor).partition(":")
            if kind == "socket":
                inodes.add(inode.strip("[]"))
    return inodes


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
