"""Shows which variants of a model a node would make, by the code that makes and judges them there."""
