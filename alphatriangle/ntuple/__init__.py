"""N-tuple networks: values looked up in tables and learned online by playing."""
