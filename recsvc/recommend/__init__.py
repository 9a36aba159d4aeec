"""From a user to a slate: candidates, filters, ranking, slates, and what is recorded of them."""
