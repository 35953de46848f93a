"""Charts as PNG, drawn with NumPy alone."""
