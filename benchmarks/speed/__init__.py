"""How fast images become predictions, beside other ways and on more cores."""
