"""How a stream that broke off is ended by another group: pure, bytes and text in and out.

    request body --asked.read--> Asked        what another engine has to be asked, or why it cannot be
    engine's events --Recorder--> client      whole events only, without the token ids that only the gateway asked for
    kept events --story.read--> Story         what the client has, and the token from which another engine can go on
    engine's events --Rewriter--> client      in the shape of the first stream, beginning where that one broke off

Nothing here awaits, reads a clock or opens a socket.
"""
