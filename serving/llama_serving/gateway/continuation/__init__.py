"""Continues a broken stream on another group. ``pure`` decides; ``failover`` and ``stream`` do the I/O."""
