"""The drivers' own logs, which name hosts, users, addresses and what is asked for. What broke is logged by the backends."""

import logging

_NEVER = logging.CRITICAL + 1


def silence(*loggers: str) -> None:
    """Let nothing of these loggers, and of those below them, into the service's log."""
    for name in loggers:
        logging.getLogger(name).setLevel(_NEVER)
