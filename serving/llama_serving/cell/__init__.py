"""One stage of a group: the supervisor of its pod and the Serve app of the leader."""
