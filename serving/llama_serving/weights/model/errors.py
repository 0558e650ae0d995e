"""Why a model folder is not served: a reason, and a message that names the file and the remedy."""

from llama_serving.config.reasons import CellReason, ReportReason

_LONGEST_NAME = 120


class RefusedError(Exception):
    """The folder cannot be served as it is."""

    def __init__(self, reason: CellReason | ReportReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def missing(message: str) -> RefusedError:
    """Return the refusal of a folder without something that the model needs."""
    return RefusedError(CellReason.WEIGHTS_MISSING, message)


def unreadable(message: str) -> RefusedError:
    """Return the refusal of a file that cannot be read or is not what it claims to be."""
    return RefusedError(CellReason.WEIGHTS_UNREADABLE, message)


def refused(message: str) -> RefusedError:
    """Return the refusal of a complete model that may not be served."""
    return RefusedError(CellReason.MODEL_REFUSED, message)


def shown(text: object) -> str:
    """Return text from the folder as a message may contain it: one line, printable, short."""
    # Cut first: a text may have megabytes, and each character is looked at.
    line = "".join(char if char.isprintable() else "?" for char in str(text)[: _LONGEST_NAME + 1])
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 3]}..."


def shown_list(items: list[str], *, most: int = 5) -> str:
    """Return the first few names of a list, and how many more there are."""
    listed = ", ".join(shown(item) for item in items[:most])
    return listed if len(items) <= most else f"{listed} and {len(items) - most} more"
