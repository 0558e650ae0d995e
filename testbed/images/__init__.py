"""Container images of the bed: how they are described, built and brought to the nodes."""
