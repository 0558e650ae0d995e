"""The process of a stage pod that starts Ray, deploys the model and reports its state."""
