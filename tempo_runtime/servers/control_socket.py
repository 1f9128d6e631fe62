"""What a deployed server is told over the socket in its folder."""

from __future__ import annotations

CONTROL = "control.sock"

SOCKET = b"f"  # to hand over the socket that it listens on
SERVE = b"s"  # to listen on it
DETACH = b"d"  # to stay when its starter ends
RETIRE = b"r"  # to take no more calls, and to end once it has answered those it has
DONE = b"."  # what it says to each
