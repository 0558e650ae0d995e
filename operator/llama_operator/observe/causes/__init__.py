"""What the scheduler, the kubelet, the controllers and the API server say, read into causes that code can tell apart.

Kubernetes gives most causes as text only. Each module knows the forms of one speaker, as Kubernetes 1.30 and later
writes them; a text in no known form gives no cause, and is quoted as it is. Nothing else in the operator reads texts
of others.
"""
