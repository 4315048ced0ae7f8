"""The one error type for what a user can put right."""


class UsageError(ValueError):
    """Unusable input or arguments: the message says what, where and what to do, in one line.

    The command prints it on stderr and exits with code 2, without a traceback.
    """
