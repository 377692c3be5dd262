"""What a person gets wrong ends in one line: the file, the fault and the remedy."""


class UserError(Exception):
    """An error that the user can fix.

    ``run_part.py`` prints the message as one line and ends with status 2, without a traceback.
    The message names the file, what is wrong with it and what to do.
    """


class NotHereError(UserError):
    """Weights, a list or boxes that cannot be had here; what does without them can go on."""
