"""Mutation check of our tests: `python -m tests.mutation` (docs/mutation.md)."""
