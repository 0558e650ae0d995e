"""NetworkPolicies of the bed: translated to rules of a node's packet filter, and kept up by an agent in each node."""
