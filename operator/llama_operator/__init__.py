"""The operator of LlamaDeployments: observe, plan, apply, report; one loop per object."""
