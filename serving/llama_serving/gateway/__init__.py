"""The gateway: the one place where requests queue. It routes, retries, continues and drains them."""
