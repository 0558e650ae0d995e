"""Structured answers: what a grammar may be asked for, decided before one is made. ``admission`` asks the others."""
