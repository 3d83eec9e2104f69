"""The way into the command ``diffnotes``: quiet when it is interrupted before it has begun."""

import signal
import sys


def main() -> int:
    """Run the command on the words of the command line; returns its exit status."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .command import main as command

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    return command()


if __name__ == "__main__":
    sys.exit(main())
