"""The fetch proxy: the one way out for stagers whose pods may not go out; whoever has no key does not pass."""
