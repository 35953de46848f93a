"""A model cut into stages: where it is cut, the parts that each stage loads, and the connection between them."""
