"""What the integers mean: pure functions on arrays; no files, no graphs, no policy."""
