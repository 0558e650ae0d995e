"""Why a model folder is not served: a machine reason and a sentence that names the file and the remedy."""

from llama_serving.config.reasons import CellReason, ReportReason

_LONGEST_NAME = 120


class RefusedError(Exception):
    """The folder cannot be served as it is."""

    def __init__(self, reason: CellReason | ReportReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def missing(message: str) -> RefusedError:
    """Something that the model needs is not there."""
    return RefusedError(CellReason.WEIGHTS_MISSING, message)


def unreadable(message: str) -> RefusedError:
    """Something is there, and cannot be read or is not what it says."""
    return RefusedError(CellReason.WEIGHTS_UNREADABLE, message)


def refused(message: str) -> RefusedError:
    """All is there and whole, but it is no model that may be served."""
    return RefusedError(CellReason.MODEL_REFUSED, message)


def shown(text: object) -> str:
    """Text from the folder as it may stand in a sentence: one line, printable, short."""
    line = "".join(char if char.isprintable() else "?" for char in str(text))
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 3]}..."


def shown_list(items: list[str], *, most: int = 5) -> str:
    """The first few names of a list, and how many more there are."""
    listed = ", ".join(shown(item) for item in items[:most])
    return listed if len(items) <= most else f"{listed} and {len(items) - most} more"
