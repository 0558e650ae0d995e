"""What the bed builds and downloads once and keeps: Go programs, Debian packages, and the folder for both."""
