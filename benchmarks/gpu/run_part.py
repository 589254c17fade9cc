"""Runs one part in this process: `python -m benchmarks.gpu.run_part NAME MODULE:FUNCTION SETTING.json`."""

import importlib
import sys
import traceback
from pathlib import Path

from benchmarks.gpu.results import Results, describe_error
from benchmarks.gpu.setting import read_setting


def main(name: str, function: str, path: str) -> int:
    """Run the part; an error becomes a line of its results. Return the exit code."""
    setting = read_setting(Path(path))
    results = Results(setting.root, name)
    module, _, function = function.partition(":")
    try:
        getattr(importlib.import_module(module), function)(setting, results)
    except Exception as error:
        traceback.print_exc()
        results.add("the rest", error=describe_error(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
