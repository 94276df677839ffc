"""Web applications on Pants: routing and responses. Nothing is built here yet."""
