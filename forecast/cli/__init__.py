"""The command line: options, output, progress."""
