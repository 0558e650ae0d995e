"""Other systems' rules, each with its published formula and defaults, fed with what that system would see."""
