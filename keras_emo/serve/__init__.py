"""A bundle as an HTTP service: needs the packages of requirements-serve.txt."""
