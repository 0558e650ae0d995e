"""Brings into a stage's pod what its engine needs of some weights, verifies it, and says how far it is.

``shares``, ``reads``, ``compact``, ``room``, ``agenda`` and ``progress`` decide and are pure; ``disk`` is the only
code that writes to the volume of the weights; ``fetch`` reads from a source into a sink; ``attempt`` is one try from
nothing to ready; ``stager`` is the loop.
"""
