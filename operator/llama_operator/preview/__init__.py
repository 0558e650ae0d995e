"""Previews a rollout: simulates it step by step on a described cluster (``python -m llama_operator.preview``)."""
