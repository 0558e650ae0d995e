"""The one place where a request waits: holds, queues, routes, retries, drains."""
