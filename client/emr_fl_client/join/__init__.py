"""Joining a real federation: ask the server, start and guard Flower's SuperNode and the worker, stay."""
