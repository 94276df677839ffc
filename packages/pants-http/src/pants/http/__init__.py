"""HTTP for Pants: servers and clients. Nothing is built here yet."""
