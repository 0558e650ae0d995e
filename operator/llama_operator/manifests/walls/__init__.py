"""Who reaches which pod: NetworkPolicies, the key of engines and the proxy for sources."""
