"""`localq chat` on a real (pseudo) terminal: prompt, command, Ctrl-C at the prompt, Ctrl-D."""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)

SECONDS = 60  # a busy machine may take this long to import MLX


class Terminal:
    """Our side of a pseudo-terminal: what the program wrote and nobody looked at yet stays in `unread`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.unread = b""

    def until(self, wanted: bytes) -> bytes:
        """What the program writes up to and with `wanted`; cursor queries are answered as a terminal would."""
        end = time.monotonic() + SECONDS
        while wanted not in self.unread:
            assert time.monotonic() < end, f"{wanted!r} did not come within {SECONDS} s: {self.unread[-500:]!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                piece = os.read(self.fd, 65536)
                self.unread += piece
                os.write(self.fd, b"\x1b[1;1R" * piece.count(b"\x1b[6n"))
        seen, _, self.unread = self.unread.partition(wanted)
        return seen + wanted

    def type(self, keys: bytes) -> None:
        """Press keys once the program waits for a line (it turns bracketed paste on)."""
        self.until(b"\x1b[?2004h")
        os.write(self.fd, keys)


def test_a_conversation_on_a_terminal(folder: Path) -> None:
    import pty

    command = [sys.executable, "-m", "localq.cli.main", "chat", str(folder), "--temperature", "0", "-n", "4", "--stats"]
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, command)
    try:
        terminal = Terminal(fd)
        terminal.until(b"/help lists the commands")
        terminal.type(b"Hello\r")
        assert b"answer 4 tokens" in terminal.until(b"ended by length")
        terminal.type(b"/system Be brief\r")
        terminal.until(b"System message: Be brief")
        terminal.type(b"never sent\x03")
        terminal.type(b"\x04")
        _, status = os.waitpid(pid, 0)
        pid = 0
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        os.close(fd)
