"""The metrics of the operator: tables that are read when somebody scrapes, and what they are read from."""
