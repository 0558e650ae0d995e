"""Lists and watches that no fault of the API server ends: paced, bounded, and begun again from a list."""
