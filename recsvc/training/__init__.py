"""Training: embeddings by matrix factorisation, and rankers on candidates that the pipeline itself retrieved."""
