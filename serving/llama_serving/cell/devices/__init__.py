"""The devices of a stage, looked at before anything starts on them."""
