"""The description of the API, built from the models that check requests; `make openapi` writes it."""
