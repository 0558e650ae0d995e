"""Tools that look at model folders."""
