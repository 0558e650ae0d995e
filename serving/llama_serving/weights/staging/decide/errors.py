"""The two ways in which an attempt ends without weights that are ready."""

from llama_serving.config.reasons import StagingReason


class StagingRefused(Exception):
    """Waiting alone does not help, a user may: tried again after ``again`` seconds, later with each refusal."""

    def __init__(self, reason: StagingReason, message: str, *, again: float = 60.0, bytes_needed: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.again = again
        self.bytes_needed = bytes_needed  # that the volume must take first; 0 where space is not what is missing


class RetryLater(Exception):
    """Tried again after ``after`` seconds, without an end; other weights have their turn meanwhile."""

    def __init__(self, reason: StagingReason, message: str, *, after: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.after = after


def digest_differs(message: str) -> StagingRefused:
    """Return the refusal of bytes that are not those of the manifest."""
    return StagingRefused(StagingReason.DIGEST_DIFFERS, message)


def disk_full(message: str, *, bytes_needed: int) -> StagingRefused:
    """Return the refusal of weights that do not fit on the volume."""
    return StagingRefused(StagingReason.DISK_FULL, message, again=5.0, bytes_needed=bytes_needed)


def weights_unreadable(message: str) -> StagingRefused:
    """Return the refusal of files that are no model."""
    return StagingRefused(StagingReason.WEIGHTS_UNREADABLE, message)
