"""Hostile clients of every kind at once, beside users: what do these notice, and what does the gateway take?"""
