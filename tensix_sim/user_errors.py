"""Errors whose text is for the user, each with the exit code of a command that ends with it."""


class UserError(Exception):
    """What the user gave, or runs, is wrong; the text, with its notes, says what, and is all that the command line prints."""

    exit_code = 2


class UsageError(UserError, ValueError):
    """What was asked for makes no sense, or cannot be done."""
