"""The two ways in which an attempt ends without weights that are ready."""

from llama_serving.config.reasons import StagingReason


class Refused(Exception):
    """Will not get better by waiting, but a user may mend it: it is looked at again after ``again`` seconds."""

    def __init__(self, reason: StagingReason, message: str, *, again: float = 60.0, room: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.again = again
        self.room = room  # bytes that the volume must take first; 0 where that is not what is missing


class NotYet(Exception):
    """Will be tried again after ``after`` seconds, for ever; other weights have their turn meanwhile."""

    def __init__(self, reason: StagingReason, message: str, *, after: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.after = after


def differs(message: str) -> Refused:
    """Bytes are not those of the manifest."""
    return Refused(StagingReason.DIGEST_DIFFERS, message)


def full(message: str, *, room: int) -> Refused:
    """The volume is too small."""
    return Refused(StagingReason.DISK_FULL, message, again=5.0, room=room)


def unreadable(message: str) -> Refused:
    """What came is no model."""
    return Refused(StagingReason.WEIGHTS_UNREADABLE, message)
