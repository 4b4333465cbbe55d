"""Parts that gradient strategies are composed of: regularisers, selection, stop rules."""
