"""The drivers' own logs, which name hosts, users, addresses and what is asked for. What broke is logged by the backends."""

import logging

_NEVER = logging.CRITICAL + 1


def silence(*names: str, level: int = _NEVER) -> None:
    """Let nothing of these loggers, and of those below them, into the service's log.

    What is under the level is not even made. DEBUG holds whole records.
    """
    for name in names:
        driver = logging.getLogger(name)
        driver.setLevel(level)
        driver.propagate = False
        driver.addHandler(logging.NullHandler())
