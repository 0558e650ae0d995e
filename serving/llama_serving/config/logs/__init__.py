"""How every process of this project writes its log."""
