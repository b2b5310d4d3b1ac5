"""Find a face in an image, turn it upright in a square, and put it back."""
