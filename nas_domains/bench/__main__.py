"""Runs every benchmark: ``python -m nas_domains.bench``."""

from .. import bench

for name in bench.names():
    print(f"== {name}\n{bench.render(bench.run(name))}\n")
