"""Makers of small models for tests and demos."""
