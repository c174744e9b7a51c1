"""Figures of the toys: ``compute()`` returns the data, ``plot(ax, data)`` draws them."""
