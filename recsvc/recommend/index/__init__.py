"""Vector indexes: which items lie nearest to a query, among those that are allowed."""
