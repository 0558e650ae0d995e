"""Decides how a change of the spec is rolled out: strategy, order, canary, rollback."""
