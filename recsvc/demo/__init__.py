"""The sample behind `recsvc demo`: feature definitions of a film site, and data to compute them from."""
