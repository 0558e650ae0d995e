"""Generates the CRDs, their copy in the chart and docs/reference/api.md from the models of the API."""
