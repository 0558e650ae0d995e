"""What autoscaling costs, how soon it reacts, and what its rules keep."""
