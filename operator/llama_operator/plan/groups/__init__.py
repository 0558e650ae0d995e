"""Decides what each group does next: its template, its pods, its weights, its verification, its drain."""
