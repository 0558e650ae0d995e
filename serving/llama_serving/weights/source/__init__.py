"""Where weights come from: one port (``port.Source``), one module per family of schemes."""
