"""Decode untrusted files in a limited process."""
