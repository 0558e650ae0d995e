"""Version v1alpha1 of the API: one module for each part of a spec or a status, as pydantic models."""
