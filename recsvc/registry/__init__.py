"""What exists: definitions, checked, and the plans that answer calls.

Pure data; the only I/O is the loader's reading of a Python file.
"""
