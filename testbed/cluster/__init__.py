"""The bed's own cluster: control plane, nodes, network and the processes of an instance."""
