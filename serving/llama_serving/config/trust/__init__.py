"""What shows a stager that a desired state is the operator's."""
