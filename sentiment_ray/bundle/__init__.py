"""The exported model as files: format, manifest, and the checks that a stranger's files must pass."""
