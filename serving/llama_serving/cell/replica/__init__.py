"""Code that runs inside the Ray Serve replica of a cell."""
