"""How another group continues a broken stream: pure, bytes and text in and out.

    request body --request.read--> ContinuableRequest   what to request from another engine, or why that is impossible
    engine's events --Recorder--> client                whole events, without token ids that the client did not ask for
    recorded events --Transcript.take--> Transcript     what the client has, and the token that an engine resumes after
    engine's events --Rewriter--> client                in the shape of the first stream, from where it broke off

and where an answer is more than text (tool calls, reasoning, a grammar, log-probabilities)

    recorded events --ReplayTranscript.take--> ReplayTranscript    the tokens that another engine is given
    engine's events --ReplayRewriter--> client                     those after the given tokens

Nothing here awaits, reads a clock or opens a socket.
"""
