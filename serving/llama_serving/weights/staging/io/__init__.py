"""The I/O of the stager: volume, downloads, control files, leases."""
