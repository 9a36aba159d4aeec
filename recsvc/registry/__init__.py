"""What exists: definitions, checked, and the plans that answer calls. Pure data, no I/O but the loader's reading of a Python file."""
