"""The one exception that a user of hwsim can cause."""


class HwsimError(Exception):
    """A user's input cannot be used; the message is one sentence that says what must be what.

    The command line prints it without a traceback and ends with `exit_status`: 2 for a bad call
    or bad input, 1 for a check that was carried out and failed.
    """

    def __init__(self, message: str, *, exit_status: int = 2) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class NotWritten(HwsimError):
    """A file that could not be written; nothing of it is left, and what stood there still does."""
