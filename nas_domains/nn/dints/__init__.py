"""DiNTS: topologies over several resolutions, their networks and their supernet."""
