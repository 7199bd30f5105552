"""Measurements that are run by hand; see each module."""
