"""Every sentence by which the operator says why something waits, changes or failed: to reword one, edit it here.

One module a subject; a function is named after the situation and returns the text. A sentence is a clause: lower case
unless it begins with a name, with numbers and names, without a full stop. What others said (scheduler, kubelet, cell,
API server) comes in as a clause and stands at the end. ``group`` is an ordinal, weights are given by their id, ``pods``
of a template by its hash. The machine word that goes with a sentence is in ``llama_serving.config.reason_catalogue``.
"""
