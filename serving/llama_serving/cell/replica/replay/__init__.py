"""Answers that another engine began: asked for at ``names.ROUTE_REPLAY``, by gateways.

    POST {"path": "/v1/chat/completions", "request": {...}, "prompt": [1, 2], "made": [[3], [4, 5]]}

``request`` is the body that the client sent, less its prompt, whose token ids are in ``prompt``. ``made`` are the
tokens of the answer so far, by the events in which they were sent. The answer is the stream that ``path`` would give if
the engine made these tokens first, from its beginning on. So the parsers of tool calls and reasoning, the text and the
counts are vLLM's own, in the state that they had in the engine that made the tokens.
"""
