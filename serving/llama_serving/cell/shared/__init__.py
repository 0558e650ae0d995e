"""What several processes of a cell need. Imports no ray, vllm or torch."""
