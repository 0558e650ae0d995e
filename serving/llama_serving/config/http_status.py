"""Which HTTP statuses are worth another try, for each kind of server.

======  ==========================================  ==================  ====================
status  meaning                                     API server          source of weights
======  ==========================================  ==================  ====================
401     the token was rotated between two reads     retried             refused: see below
408     the server waited too long for the request  retried             retried
409     another write came in between               retried             refused: only reads
425     too early, sent by proxies                  retried             retried
429     too many requests                           retried             retried
5xx     the server or a proxy failed                500, 502, 503, 504  all
======  ==========================================  ==================  ====================
"""

from typing import Final

#: For both kinds of servers: the same request may succeed a little later.
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

#: A 401 of the API server heals: the kubelet rotates the token of a service account, and the next request reads the
#: new one. A 401 of a source does not: its credentials are a Secret that only its owner changes.
RETRIED_BY_API_CLIENTS: Final = _TRANSIENT | {401, 409}


def is_retried_at_source(status: int) -> bool:
    """Return whether a source of weights that answered ``status`` is asked again."""
    return status in _TRANSIENT or status >= 500
