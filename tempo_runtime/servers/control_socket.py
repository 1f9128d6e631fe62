"""Commands to a deployed server, sent through the socket in its folder."""

from __future__ import annotations

CONTROL = "control.sock"

SOCKET = b"f"  # hand over the socket that it listens on
SERVE = b"s"  # start to listen on that socket
DETACH = b"d"  # keep running when its starter ends
RETIRE = b"r"  # take no more calls, and end once those in progress are answered
DONE = b"."  # its answer to each command
