"""A `poller` for shells: asks the process that forks for a command, and ends as that ends.

It runs without site-packages, since it is to start in no time.
"""

import array
import json
import os
import socket
import sys


def main() -> None:
    """Run the command on our own standard descriptors."""
    address, *arguments = sys.argv[1:]
    request = {
        "arguments": arguments,
        "cwd": os.getcwd(),  # noqa: PTH109 - pathlib takes longer than all the rest
        "env": dict(os.environ),
        "terminal": False,
        "module": "poller",
    }
    end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control, end:
        control.connect(f"\0{address}")
        control.recv(16)
        passed = array.array("i", [0, 1, 2, theirs.fileno()])
        with theirs:
            control.sendmsg(
                [json.dumps(request).encode()],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed.tobytes())],
            )
        end.recv(16)
        code = int(end.recv(16))
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
