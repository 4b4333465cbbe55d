"""The one exception that a user's mistake raises."""


class UsageError(ValueError):
    """A mistake in an input, an option or a file.

    Its text is one sentence that names the file, option or value and says what to do; the command
    line prints that sentence and exits with status 2, without a traceback.
    """
