"""HTTP of the gateway: bodies, headers, relays, errors and server-sent events."""
