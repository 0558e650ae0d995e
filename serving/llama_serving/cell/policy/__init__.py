"""The decisions of a supervisor, as pure functions over states."""
