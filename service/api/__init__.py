"""The routes, one module a resource; the same nouns as in `db`."""
