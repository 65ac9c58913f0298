"""The one error type of things a user can mend: a wrong name, file, value or data set."""


class OfaError(ValueError):
    """Something the caller can put right; its message says what is wrong and what to do."""
