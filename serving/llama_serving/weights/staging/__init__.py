"""The stager: downloads into a stage's pod what its engine needs of some weights, verifies it and reports progress.

``decide`` is pure; ``io.disk`` is the only code that writes to the volume of the weights; ``io.fetch`` reads from a
source into a sink; ``attempt`` is one attempt from nothing to ready; ``stager`` is the loop.
"""
