"""What a command says when it can't go on."""


class CommandError(Exception):
    """The command stops with exit code 1; the message is one line for whoever typed it, with what to do about it."""
