"""The bundle behind HTTP: needs the packages of requirements-serve.txt."""
