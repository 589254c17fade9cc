"""The exported model as files: their format, the manifest, and the checks that a stranger's files must pass."""
