"""`kubectl fairlead explain`: the request, and its answer as a picture or a page."""
