"""What keeps apart who must not reach each other: places of sources, the engine's key, ports, the probe of policies."""
