"""The one error of the test bed whose text is for the user."""


class BedError(Exception):
    """Something the user must know or do; the message is a sentence, with the command that helps where there is one."""
