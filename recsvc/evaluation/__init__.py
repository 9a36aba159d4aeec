"""How good recommendations are: measured through the real server, in a store that knows the training part only."""
