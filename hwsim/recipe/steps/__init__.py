"""What a recipe's steps do: make a network smaller, train it, and tell what it comes to."""
