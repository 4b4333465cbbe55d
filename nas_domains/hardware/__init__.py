"""Hardware: what a network costs, counted and measured."""
