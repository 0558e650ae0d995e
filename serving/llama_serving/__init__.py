"""What runs in the pods of a LlamaDeployment: the cell (Ray, vLLM), the gateway, the weights tools."""
