"""The contract between the operator, the cells and the gateway: names, files and messages, and nothing else.

Pure data (pydantic and the standard library only): the operator imports this package and nothing else of serving.
"""
