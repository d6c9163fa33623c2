"""Submitting jobs: from a checked body to rows that are committed."""
