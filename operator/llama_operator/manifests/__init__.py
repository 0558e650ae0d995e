"""The shape of every child object, one module a kind of thing; pure: from a plan to dictionaries."""
