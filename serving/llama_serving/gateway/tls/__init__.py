"""TLS on the port of the clients: reads certificate and key, and shows new ones without a restart."""
