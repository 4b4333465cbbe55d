"""The words of the library: spaces, architectures, objectives, tasks, runs."""
