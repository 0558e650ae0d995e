"""What a pass asks about keys, routes and Ingresses, and the pass that hands the rules of keys to gateways."""
