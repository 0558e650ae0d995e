"""Where the operator serves: what each namespace needs, who may write in it, and how that is told."""
