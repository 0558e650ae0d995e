"""Asks about pods that wait and whose status does not tell why."""
