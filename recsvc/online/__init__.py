"""How a row is kept and read: keys, rows, the store's readers and writers, and columns made from rows."""
