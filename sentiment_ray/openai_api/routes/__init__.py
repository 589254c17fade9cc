"""The routes below /v1, a module for each kind of object."""
